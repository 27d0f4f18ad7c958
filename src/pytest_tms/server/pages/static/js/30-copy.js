// Buttons that copy: data-copy="text", or data-copy-from="id of the element with the text".
(() => {
  "use strict";
  const said = document.createElement("p");
  said.className = "visually-hidden";
  said.setAttribute("role", "status");
  document.body.append(said);

  async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea"); // over http, browsers have no clipboard
    field.value = text;
    document.body.append(field);
    field.select();
    const isDone = document.execCommand("copy");
    field.remove();
    if (!isDone) throw new Error("not copied");
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const from = document.getElementById(button.dataset.copyFrom || "");
    try {
      await copy(from ? from.textContent : button.dataset.copy || "");
      said.textContent = "Copied";
      button.dataset.copied = "yes";
    } catch {
      said.textContent = "The browser did not copy the text";
      button.dataset.copied = "no";
    }
    button.focus();
    setTimeout(() => {
      said.textContent = "";
      delete button.dataset.copied;
    }, 2000);
  });
})();
