// Figures with a slider: shows the frame that it stands at.
(function () {
  "use strict";
  function prepare(root) {
    root.dataset.ready = "true";
    const range = root.querySelector("input"), shown = root.querySelector("output"), spoken = root.querySelector(".unseen");
    const frames = Array.from(root.querySelectorAll(".frames > figure"));
    function show(announce) {
      const index = Number(range.value);
      frames.forEach((frame, i) => frame.classList.toggle("shown", i === index));
      const value = frames[index].dataset.value;
      shown.textContent = value;
      range.setAttribute("aria-valuetext", value);
      // The slider speaks its value; what the frame says comes after it.
      const picture = frames[index].querySelector("img"), caption = frames[index].querySelector("figcaption").cloneNode(true);
      caption.querySelector(".value").remove();
      const sentence = caption.textContent.trim();
      if (announce) spoken.textContent = sentence || (picture ? picture.alt : "");
    }
    range.value = root.dataset.start; // a browser restores the old place on reload
    range.addEventListener("input", () => show(true));
    show(false);
  }
  function start() { document.querySelectorAll(".cnncourse-slider:not([data-ready])").forEach(prepare); }
  start();
  // While a page is read, a later box may be there in part; JupyterLab runs a script before it attaches the output.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else setTimeout(start, 300);
})();
