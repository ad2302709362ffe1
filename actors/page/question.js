// A question before something that cannot be undone.

const at = (id) => document.getElementById(id);

/**
 * Asks it, in a dialog.
 * @param {string} title @param {string} text @param {string} action The word on the button that does it.
 * @returns {Promise<boolean>} Whether the person wants it.
 */
export function ask(title, text, action) {
  const dialog = at("question");
  at("question-title").textContent = title;
  at("question-text").textContent = text;
  at("question-yes").textContent = action;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    at("question-yes").onclick = () => dialog.close("yes");
    at("question-no").onclick = () => dialog.close();
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
  });
}
