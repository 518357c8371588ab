// Small corrections to the theme that no style sheet can make.
(function () {
  function mend() {
    // A download is saved, whatever type the server gives it; in a tab of its own it would be raw text.
    document.querySelectorAll("a[href*='downloads/']").forEach(function (link) {
      link.setAttribute("download", "");
      link.removeAttribute("target");
    });
    // On a phone the letters of a wide figure are too small to read; the style sheet lets it scroll.
    document.querySelectorAll(".bd-article .cell_output img").forEach(function (figure) {
      if (figure.naturalWidth > 700) figure.classList.add("wide");
    });
    // What scrolls sideways has to be reachable by keyboard.
    var boxes = ".bd-article pre, .bd-article .cell_output, .bd-article .output, .pst-scrollable-table-container";
    document.querySelectorAll(boxes).forEach(function (box) {
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
  // On paper the folded code and the ledger are there; hints stay folded.
  var opened = [];
  window.addEventListener("beforeprint", function () {
    var folded = ".cell details:not([open]), details.ledger-group:not([open]), details.cnncourse-fold:not([open])";
    opened = Array.from(document.querySelectorAll(folded));
    opened.forEach(function (box) { box.open = true; });
  });
  window.addEventListener("afterprint", function () { opened.forEach(function (box) { box.open = false; }); });
  window.addEventListener("load", function () {
    mend();
    var widgets = document.querySelector("script[type='application/vnd.jupyter.widget-view+json']");
    if (!widgets) return;
    new MutationObserver(mend).observe(document.querySelector(".bd-article"), { childList: true, subtree: true });
  });
})();
