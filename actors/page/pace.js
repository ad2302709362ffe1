// When to send something again, and how much of it: PROTOCOL.md, section 12.1. Times are milliseconds of a clock that
// only goes forward.

const PAUSE_FIRST = 100;
const PAUSE_LONGEST = 2000;
/** A failure so long after the previous one counts as the first again. */
const FORGIVEN_AFTER = 15_000;

/** Varies a time by up to a quarter, so that peers that were interrupted together do not return together. */
export const jittered = (time) => time * (0.75 + Math.random() / 2);

/** The pause after failures in a row. Only time ends a row: successes in between must not. */
export class Backoff {
  #failures = 0;
  #failedAt = -Infinity;
  /** When the pause ends. */
  until = -Infinity;

  /** @param {number} now @returns {number} How many failures there were in a row. */
  failed(now) {
    this.#failures = now - this.#failedAt >= FORGIVEN_AFTER ? 1 : this.#failures + 1;
    this.#failedAt = now;
    this.until = now + jittered(Math.min(PAUSE_FIRST * 2 ** (this.#failures - 1), PAUSE_LONGEST));
    return this.#failures;
  }

  /** Ends the pause. */
  end() {
    this.until = -Infinity;
  }
}

/** How many messages may be sent: any number until a failure, then one, and twice as many after each success. */
export class Credit {
  #granted = Infinity;
  left = Infinity;

  cut() {
    [this.#granted, this.left] = [1, 1];
  }

  grow() {
    this.#granted = this.#granted < 1024 ? this.#granted * 2 : Infinity;
    this.left = this.#granted;
  }

  /** Allows one more, because nothing has come back for a while. */
  tryOne() {
    this.left = Math.max(this.left, 1);
  }
}

/** So many at once, and so many a minute. */
export class Budget {
  #left;
  #most;
  #perMinute;
  #at = -Infinity;

  /** @param {number} most @param {number} perMinute */
  constructor(most, perMinute) {
    [this.#left, this.#most, this.#perMinute] = [most, most, perMinute];
  }

  /** @param {number} now @returns {boolean} Whether one more is allowed; then it is taken. */
  take(now) {
    this.#left = Math.min(this.#most, this.#left + ((now - this.#at) / 60_000) * this.#perMinute);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** @param {number} part */
  giveBack(part) {
    this.#left = Math.min(this.#most, this.#left + part);
  }
}

/** Something that has a minimum interval. */
export class Spacing {
  #at = -Infinity;

  /** @param {number} now @param {number} every @returns {boolean} Whether it may be done now; then it counts as done. */
  isDue(now, every) {
    if (now - this.#at < every) return false;
    this.#at = now;
    return true;
  }
}
