// The steps of a message, in the words of the terminal's trace: each with an explanation, its bytes, and a command that
// does it again.

import { concat, hex, utf8 } from "./bytes.js";
import { decode } from "./postcard.js";
import { openingBody, signed } from "./protocol.js";
import { domain, fingerprint, OAEP_LABEL, sha256 } from "./crypto.js";
import { readCard } from "./card.js";
import { messageContent, nonce, pad, sealedParts, TAG_BYTES } from "./conversation.js";

// From standard input, because an argument of a command is limited to 128 KiB.
const python = (...lines) => ["python3 <<'END'", ...lines, "END"].join("\n");
const bytes = (value) => `bytes.fromhex('${hex(value)}')`;
const PRINT_OUTPUT = "print(subprocess.run(command.split(), input=content, stdout=subprocess.PIPE, check=True).stdout.hex())";

const digestCommand = (...parts) =>
  python("import hashlib", `print(hashlib.sha256(${bytes(concat(...parts))}).hexdigest())`);

const signatureCommand = (key, message, signature) =>
  python(
    `open('key.der', 'wb').write(${bytes(key)})`,
    `open('signature', 'wb').write(${bytes(signature)})`,
    `open('signed', 'wb').write(${bytes(message)})`,
  ) +
  "\nopenssl dgst -sha256 -keyform DER -verify key.der -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -signature signature signed";

const wrapCommand = (key, secret) =>
  python(
    "import subprocess",
    `open('key.der', 'wb').write(${bytes(key)})`,
    `command = 'openssl pkeyutl -encrypt -pubin -keyform DER -inkey key.der -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_oaep_label:${hex(OAEP_LABEL)}'`,
    `content = ${bytes(secret)}`,
    PRINT_OUTPUT,
  );

// AES-GCM encrypts as AES in counter mode, with the nonce and then the number 2 as the first counter. openssl has no
// command for the tag.
const sealCommand = (secret, id, place, content) =>
  python(
    "import hmac, subprocess",
    `extracted = hmac.digest(${bytes(id)}, ${bytes(secret)}, 'sha256')`,
    "key = hmac.digest(extracted, b'switchboard/1 messages' + bytes([1]), 'sha256')",
    `command = 'openssl enc -aes-256-ctr -iv ${hex(nonce(place))}00000002 -K ' + key.hex()`,
    `content = ${bytes(pad(content))}`,
    PRINT_OUTPUT,
  );

const short = (digest) => hex(digest).slice(0, 16);

/**
 * @typedef {{label: string, explanation: string, value?: string, command?: string}} Step
 * @typedef {(conversation: string) => Promise<{secret?: Uint8Array, wrappedFor?: Uint8Array}>} SecretOf
 *   The secret of a conversation that is in memory, by its id in hex, and the public key for which it was wrapped.
 */

/**
 * @param {object} message A record. @param {import("./store.js").Store} store @param {SecretOf} secretOf
 * @returns {Promise<Step[]>}
 */
export async function stepsOf(message, store, secretOf) {
  const isSent = message.direction === "sent";
  const conversation = message.places.at(-1)?.conversation;
  const opening = conversation && (await store.get("conversations", conversation))?.opening;
  const known = opening ? await secretOf(conversation) : {};
  const text = textStep(message, isSent);
  const talk = opening ? await conversationSteps(opening, known, isSent) : [];
  const sealing = message.sealed ? await sealedSteps(message, opening, known.secret, store) : [];
  if (!isSent) return [...talk, ...sealing, text, ...receivedSteps(message)];
  return [text, ...talk, ...sealing, ...(await transportSteps(message, store))];
}

/** The message at another place of the conversation in which `message` is, if it is kept. */
async function atPlace({ peer, direction, generation, number, places }, place, store) {
  const { conversation, place: own } = places.at(-1);
  // Numbers follow one another in a conversation.
  const found = await store.message(peer, direction, generation, number + place - own);
  const at = found?.places.at(-1);
  return at?.conversation === conversation && at.place === place && found.sealed ? found : undefined;
}

function textStep({ text, sha256: digest }, isSent) {
  return {
    label: "SHA-256 of the text",
    explanation: isSent
      ? "The digest of the plaintext is sealed together with it, so that the recipient can check that it has the whole text."
      : "The plaintext has the digest that was sealed together with it.",
    value: hex(digest),
    command: digestCommand(utf8(text)),
  };
}

async function conversationSteps(opened, { secret, wrappedFor }, isSent) {
  const { body, signature } = decode(signed, opened);
  const opening = decode(openingBody, body);
  const { identity } = await readCard(opening.sender_card);
  const by = isSent ? "by our identity key" : "by their identity key";
  const whose = isSent ? "their encryption key" : "our encryption key";
  const about = secret
    ? "The command contains the key of this conversation, which opens all of its messages: show it to nobody."
    : "There is no command, because the key of this conversation is no longer in memory.";
  return [
    {
      label: isSent ? "drawn" : "conversation",
      explanation: isSent
        ? "A 32-byte key was drawn at random for this conversation. It is kept in memory only. The id of the conversation is the SHA-256 of the body of its opening."
        : "The sender has drawn a 32-byte key for this conversation. Its id is the SHA-256 of the body of its opening.",
      value: hex(await sha256(body)),
      command: digestCommand(body),
    },
    {
      label: isSent ? "wrapped" : "unwrapped",
      explanation: `RSAES-OAEP (SHA-256) for ${whose} ${short(opening.recipient_key)}…: only its owner can unwrap the key. OAEP adds random bytes, so wrapping the same key again gives other bytes. ${about}`,
      value: hex(opening.wrapped_key),
      command: secret && wrapCommand(wrappedFor, secret),
    },
    {
      label: isSent ? "commitment" : "commitment verified",
      explanation: "The SHA-256 of a domain string and the key. It shows the recipient that the unwrapped key is the right one.",
      value: hex(opening.commitment),
      command: secret && digestCommand(domain("commitment"), secret),
    },
    {
      label: isSent ? "signed" : "signature verified",
      explanation: `RSASSA-PSS (SHA-256) ${by} ${short(await fingerprint(identity))}…, over all of the opening before it.`,
      value: hex(signature),
      command: signatureCommand(identity, concat(domain("opening"), body), signature),
    },
  ];
}

async function sealedSteps(message, opening, secret, store) {
  const { sealed, places, number, direction } = message;
  const { place, hash_before, running_hash } = places.at(-1);
  const { id, ciphertext } = sealedParts(sealed);
  const end = ciphertext.length - TAG_BYTES;
  const before = place > 0 ? await atPlace(message, place - 1, store) : undefined;
  return [
    {
      label: direction === "sent" ? "sealed" : "opened",
      explanation: `AES-256-GCM under conversation ${short(id)}…, nonce ${place}, ${sealed.length} bytes. The associated data are the conversation, the kind, and the number ${number}. They are authenticated by the tag ${hex(ciphertext.subarray(end))}, which follows these bytes. The command derives the key by HKDF, and encrypts the text with its time, digest and id.`,
      value: hex(ciphertext.subarray(0, end)),
      command: secret && sealCommand(secret, id, place, await messageContent(message)),
    },
    {
      label: "SHA-256 of it",
      explanation: "The digest of all sealed bytes. The server logs the same digest when they pass.",
      value: hex(await sha256(sealed)),
      command: digestCommand(sealed),
    },
    {
      label: "running hash before",
      explanation: "A hash over all messages of the conversation before this one; at first, the id of the conversation.",
      value: hex(hash_before),
      command: place === 0 && opening ? digestCommand(decode(signed, opening).body) : before && runningHashCommand(before),
    },
    {
      label: "running hash",
      explanation: "The SHA-256 of the hash before and the sealed bytes. It fixes the order of all messages.",
      value: hex(running_hash),
      command: runningHashCommand(message),
    },
  ];
}

const runningHashCommand = ({ sealed, places }) => digestCommand(places.at(-1).hash_before, sealed);

async function transportSteps(message, store) {
  const { state, to, receipt } = message;
  const words = {
    queued: { label: "queued", explanation: "On the disk of this browser. It is sealed and sent when that is possible." },
    relayed: { label: "relayed", explanation: `The server has handed it to ${to}, who is connected.` },
    stored: { label: "stored", explanation: `On the server's disk until ${to} connects.` },
  };
  if (words[state]) return [words[state]];
  const last = await atPlace(message, receipt.count - 1, store);
  return [
    {
      label: "receipt verified",
      explanation: `${to} has sealed a receipt for ${receipt.count} message(s) of this conversation. Its running hash is equal at both ends.`,
      value: hex(receipt.running_hash),
      command: last && runningHashCommand(last),
    },
  ];
}

function receivedSteps({ places, from }) {
  return [
    { label: "in order", explanation: `Place ${places[0].place} of its conversation: no message before it is missing.` },
    { label: "acknowledged", explanation: `After it was on the disk of this browser, a receipt over this running hash has gone back to ${from}.` },
  ];
}
