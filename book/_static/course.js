// Small corrections to the theme that no style sheet can make.
(function () {
  function mend() {
    // A download is saved, whatever type the server gives it; in a tab of its own it would be raw text.
    document.querySelectorAll("a[href*='downloads/']").forEach(function (link) {
      link.setAttribute("download", "");
      link.removeAttribute("target");
    });
    // What scrolls sideways has to be reachable by keyboard.
    document.querySelectorAll(".bd-article pre, .bd-article .cell_output .output, .pst-scrollable-table-container").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth + 1 && !box.hasAttribute("tabindex")) box.setAttribute("tabindex", "0");
    });
    // The widget manager's sliders carry no name; their label stands beside them.
    document.querySelectorAll(".jupyter-widgets .noUi-handle:not([aria-label])").forEach(function (handle) {
      var label = handle.closest(".jupyter-widgets").querySelector(".widget-label");
      handle.setAttribute("aria-label", label && label.textContent ? label.textContent : "value");
    });
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mend);
  else mend();
  window.addEventListener("load", function () {
    mend();
    var widgets = document.querySelector("script[type='application/vnd.jupyter.widget-view+json']");
    if (widgets) new MutationObserver(mend).observe(document.querySelector(".bd-article"), { childList: true, subtree: true });
  });
})();
