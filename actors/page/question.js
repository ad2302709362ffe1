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
  dialog.showModal();
  return new Promise((resolve) => {
    const answer = (isWanted) => {
      dialog.close();
      resolve(isWanted);
    };
    // Not the event `close`: it comes later, and could then answer the next question.
    at("question-yes").onclick = () => answer(true);
    at("question-no").onclick = () => answer(false);
    dialog.oncancel = () => answer(false);
  });
}
