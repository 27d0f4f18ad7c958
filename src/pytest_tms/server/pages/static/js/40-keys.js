// Keys: / searches, j and k move over rows, f, n and p follow links, ? shows the list. And filter forms leave
// out fields that are empty, so that their addresses are short.
(() => {
  "use strict";
  const dialog = document.getElementById("keys");
  const isShown = (element) => element.checkVisibility();

  function move(step) {
    const rows = [...document.querySelectorAll("[data-row]")].filter(isShown);
    const at = rows.indexOf(document.activeElement);
    const row = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))];
    if (!row) return false;
    row.focus();
    row.scrollIntoView({ block: "nearest" });
    return true;
  }

  function follow(name) {
    const link = document.querySelector(`[data-key="${name}"]`);
    if (link) link.click();
    return link !== null;
  }

  function search() {
    const fields = ["main input[type=search]", "input[type=search]"].flatMap((each) => [
      ...document.querySelectorAll(each),
    ]);
    const field = fields.find(isShown);
    if (field) field.select();
    if (field) field.focus();
    return field !== undefined;
  }

  const actions = {
    "/": search,
    j: () => move(1),
    k: () => move(-1),
    f: () => follow("f"),
    n: () => follow("n"),
    p: () => follow("p"),
    "?": () => {
      if (dialog && !dialog.open) dialog.showModal();
      return dialog !== null;
    },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog[open]")) return;
    if (Object.hasOwn(actions, event.key) && actions[event.key]()) event.preventDefault();
  });

  document.addEventListener("formdata", (event) => {
    if (event.target.method !== "get") return;
    for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
  });
})();
