// The kernel that steps over an image, and the size of the output.
(function () {
  "use strict";
  const text = (x) => String(Number(x.toPrecision(4))).replace("-", "−");
  const factor = (x) => (x < 0 ? "(" + text(x) + ")" : text(x));

  function stepper(root) {
    root.dataset.ready = "true";
    const data = JSON.parse(root.dataset.stepper);
    const find = (selector) => root.querySelector(selector);
    const cells = (name) => Array.from(find("table." + name).rows, (row) => Array.from(row.cells));
    const image = cells("image"), output = cells("output"), range = find("input"), sum = find(".sum");
    const rows = data.kernel.length, columns = data.kernel[0].length, width = output[0].length, count = width * output.length;
    const values = output.map((row) => row.map((cell) => cell.textContent));
    image.forEach((row, i) => row.forEach((cell, j) => {
      const p = data.padding;
      cell.classList.toggle("pad", i < p || j < p || i >= image.length - p || j >= row.length - p);
    }));
    let all = false;

    function show() {
      const position = Number(range.value), r = Math.floor(position / width), c = position % width;
      const top = r * data.stride, left = c * data.stride, lines = [];
      let total = 0;
      image.forEach((row, i) => row.forEach((cell, j) =>
        cell.classList.toggle("on", i >= top && i < top + rows && j >= left && j < left + columns)));
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          const x = data.image[top + i][left + j], w = data.kernel[i][j];
          total += x * w;
          lines.push(factor(x) + "·" + factor(w));
        }
      }
      output.forEach((row, i) => row.forEach((cell, j) => {
        const at = i * width + j;
        cell.classList.toggle("on", at === position);
        cell.classList.toggle("done", at < position || (all && at !== position));
        cell.textContent = all || at <= position ? values[i][j] : "";
      }));
      sum.textContent = "Row " + (r + 1) + ", column " + (c + 1) + ": " + lines.join(" + ") + " = " + text(total);
      range.setAttribute("aria-valuetext", "row " + (r + 1) + ", column " + (c + 1) + " of the output");
      find(".back").disabled = position === 0;
      find(".next").disabled = position === count - 1;
    }

    const go = (position) => { range.value = Math.max(0, Math.min(count - 1, position)); show(); };
    range.value = 0;
    range.addEventListener("input", show);
    find(".back").addEventListener("click", () => go(Number(range.value) - 1));
    find(".next").addEventListener("click", () => go(Number(range.value) + 1));
    find(".all").addEventListener("click", (event) => {
      all = !all;
      event.target.textContent = all ? "Only so far" : "All";
      show();
    });
    show();
  }

  function outputSize(root) {
    root.dataset.ready = "true";
    const inputs = Array.from(root.querySelectorAll("input"));
    const formula = root.querySelector(".formula"), picture = root.querySelector(".picture");

    function show() {
      const v = {};
      for (const input of inputs) {
        v[input.name] = Number(input.value);
        input.parentElement.querySelector("b").textContent = input.value;
      }
      const span = v.D * (v.F - 1) + 1, room = v.H + 2 * v.P - span;
      const start = "⌊(H + 2P − D(F − 1) − 1) / S⌋ + 1 = ⌊(" + v.H + " + 2·" + v.P + " − " + v.D + "·(" + v.F + " − 1) − 1) / " + v.S + "⌋ + 1";
      if (room < 0) {
        formula.textContent = "The kernel spans " + span + " places, but the input has only " + (v.H + 2 * v.P) + ", padding included: no output.";
        picture.replaceChildren();
        return;
      }
      const count = Math.floor(room / v.S) + 1, unused = room % v.S;
      formula.textContent = start + " = " + count + (unused ? ". The last " + unused + (unused > 1 ? " places are" : " place is") + " never covered." : ".");
      draw(v, span, count);
    }

    function draw(v, span, count) {
      const total = v.H + 2 * v.P, unit = 14, shown = Math.min(count, 12), parts = [];
      const box = (i, y, fill, dash) => '<rect x="' + (i * unit + 1) + '" y="' + y + '" width="' + (unit - 2) + '" height="' + (unit - 2) +
        '" fill="' + fill + '" stroke="currentColor" stroke-opacity="0.6"' + (dash ? ' stroke-dasharray="2 2"' : "") + "/>";
      for (let i = 0; i < total; i++) parts.push(box(i, 1, "none", i < v.P || i >= v.P + v.H));
      for (let k = 0; k < shown; k++) {
        for (let f = 0; f < v.F; f++) parts.push(box(k * v.S + f * v.D, (k + 1) * unit + 6, "#3b82f6", false));
      }
      const height = (shown + 1) * unit + 10;
      picture.innerHTML = '<svg width="' + total * unit + '" viewBox="0 0 ' + total * unit + " " + height + '">' + parts.join("") + "</svg>" +
        (shown < count ? "<p>The first " + shown + " of " + count + " positions.</p>" : "");
    }

    inputs.forEach((input) => { input.value = input.defaultValue; input.addEventListener("input", show); });
    show();
  }

  function start() {
    document.querySelectorAll(".cnncourse-stepper:not([data-ready])").forEach(stepper);
    document.querySelectorAll(".cnncourse-output-size:not([data-ready])").forEach(outputSize);
  }
  start();
  // While a page is read, a later box may be there in part; JupyterLab runs a script before it attaches the output.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else setTimeout(start, 300);
})();
