/* Filters for the tables of claims. They only hide rows and unfold groups: without a script every claim can be read. The
   choice is kept in the address, so that a link can lead to it: ?report=ai604&verdict=corrected#every-claim */
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.claims-filter");
  const status = form.querySelector("[role=status]");
  const opener = form.querySelector("button[type=button]");
  const groups = [...document.querySelectorAll("details.ledger-group")];
  const rows = [...document.querySelectorAll("table.ledger tr[id]")];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const fields = ["report", "verdict", "notebook", "words"].map((name) => form.elements[name]);

  function fits(row, chosen) {
    const { report, verdict, notebook } = row.dataset;
    return (
      (!chosen.report || chosen.report === report) &&
      (!chosen.notebook || chosen.notebook === notebook) &&
      (!chosen.verdict || chosen.verdict === verdict || (chosen.verdict === "decided" && verdict !== "open")) &&
      chosen.words.toLowerCase().split(/\s+/).every((word) => texts.get(row).includes(word))
    );
  }

  function apply(remember) {
    const chosen = Object.fromEntries(fields.map((field) => [field.name, field.value]));
    let shown = 0;
    for (const row of rows) {
      row.hidden = !fits(row, chosen);
      shown += !row.hidden;
    }
    const some = Object.values(chosen).some(Boolean);
    for (const group of groups) {
      group.hidden = !group.querySelector("tr[id]:not([hidden])");
      group.open = some;
    }
    for (const section of new Set(groups.map((group) => group.closest("section")))) {
      section.hidden = !section.querySelector("details.ledger-group:not([hidden])");
    }
    label();
    status.textContent = `${shown} of ${rows.length} claims`;
    if (remember) {
      const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value)).toString();
      history.replaceState(null, "", (query ? `?${query}` : location.pathname) + (query ? "#every-claim" : ""));
    }
  }

  function label() {
    opener.textContent = groups.some((group) => group.open) ? "Close all" : "Open all";
  }

  function reveal() {
    // A link to a claim has to show it, whatever is chosen.
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const group = target && target.closest("details.ledger-group");
    if (!group) return;
    if (target.closest("[hidden]")) {
      for (const field of fields) field.value = "";
      apply(false);
    }
    group.open = true;
    target.scrollIntoView();
  }

  const query = new URLSearchParams(location.search);
  for (const field of fields) field.value = query.get(field.name) || "";
  for (const field of fields) if (field.selectedIndex === -1) field.value = "";
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => apply(true));
  form.addEventListener("reset", () => {
    for (const field of fields) field.value = "";
    setTimeout(() => apply(true));
  });
  opener.addEventListener("click", () => {
    const open = !groups.some((group) => group.open);
    for (const group of groups) group.open = open;
    label();
  });
  for (const group of groups) group.addEventListener("toggle", label);
  window.addEventListener("hashchange", reveal);
  apply(false);
  reveal();
});
