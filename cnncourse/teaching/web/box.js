// JupyterLab takes keys from what has the focus, unless that says that it needs them itself.
(function () {
  "use strict";
  if (window.cnncourseKeys) return;
  window.cnncourseKeys = true;
  document.addEventListener("focusin", (event) => {
    if (event.target.closest && event.target.closest(".cnncourse-box")) {
      event.target.setAttribute("data-lm-suppress-shortcuts", "true");
    }
  }, true);
})();
