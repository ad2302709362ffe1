// The steps of a message, in the words of the terminal's trace: each with an explanation, its bytes, and a command that
// does it again.

import { hex, utf8 } from "./bytes.js";
import { decode } from "./postcard.js";
import { openingBody, signed } from "./protocol.js";
import { domain, fingerprint, sha256 } from "./crypto.js";
import { readCard } from "./card.js";
import { sealedParts } from "./conversation.js";

const digestCommand = (...parts) =>
  `python3 -c "import hashlib; print(hashlib.sha256(bytes.fromhex('${parts.map(hex).join("")}')).hexdigest())"`;

const signatureCommand = (key, message, signature) =>
  `python3 -c "
for name, digits in [('key.der', '${hex(key)}'), ('signature', '${hex(signature)}'), ('signed', '${hex(message)}')]:
    open(name, 'wb').write(bytes.fromhex(digits))"
openssl dgst -sha256 -keyform DER -verify key.der -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -signature signature signed`;

const concatBytes = (a, b) => Uint8Array.of(...a, ...b);
const short = (digest) => hex(digest).slice(0, 16);

/**
 * @typedef {{label: string, explanation: string, value?: string, command?: string}} Step
 * @param {object} message A record. @param {Uint8Array | undefined} opening Of its conversation.
 * @returns {Promise<Step[]>}
 */
export async function stepsOf(message, opening) {
  const isSent = message.direction === "sent";
  const text = textStep(message, isSent);
  const talk = opening ? await conversationSteps(opening, isSent) : [];
  const sealing = message.sealed ? await sealedSteps(message, isSent) : [];
  return isSent ? [text, ...talk, ...sealing, ...transportSteps(message)] : [...talk, ...sealing, text, ...receivedSteps(message)];
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

async function conversationSteps(bytes, isSent) {
  const { body, signature } = decode(signed, bytes);
  const opening = decode(openingBody, body);
  const { identity } = await readCard(opening.sender_card);
  const by = isSent ? "by our identity key" : "by their identity key";
  const whose = isSent ? "their encryption key" : "our encryption key";
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
      explanation: `RSAES-OAEP (SHA-256) for ${whose} ${short(opening.recipient_key)}…: only its owner can unwrap the key.`,
      value: hex(opening.wrapped_key),
    },
    {
      label: isSent ? "commitment" : "commitment verified",
      explanation: "The SHA-256 of a domain string and the key. It shows the recipient that the unwrapped key is the right one.",
      value: hex(opening.commitment),
    },
    {
      label: isSent ? "signed" : "signature verified",
      explanation: `RSASSA-PSS (SHA-256) ${by} ${short(await fingerprint(identity))}…, over all of the opening before it.`,
      value: hex(signature),
      command: signatureCommand(identity, concatBytes(domain("opening"), body), signature),
    },
  ];
}

async function sealedSteps({ sealed, places, number }, isSent) {
  const { place, hash_before, running_hash } = places.at(-1);
  const { id, ciphertext } = sealedParts(sealed);
  return [
    {
      label: isSent ? "sealed" : "opened",
      explanation: `AES-256-GCM under conversation ${short(id)}…, nonce ${place}, ${sealed.length} bytes. The associated data are the conversation, the kind, and the number ${number}.`,
      value: hex(ciphertext),
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
    },
    {
      label: "running hash",
      explanation: "The SHA-256 of the hash before and the sealed bytes. It fixes the order of all messages.",
      value: hex(running_hash),
      command: digestCommand(hash_before, sealed),
    },
  ];
}

function transportSteps({ state, to, receipt }) {
  const words = {
    queued: [{ label: "queued", explanation: "On the disk of this browser. It is sealed and sent when that is possible." }],
    relayed: [{ label: "relayed", explanation: `The server has handed it to ${to}, who is connected.` }],
    stored: [{ label: "stored", explanation: `On the server's disk until ${to} connects.` }],
  };
  return words[state] ?? [
    {
      label: "receipt verified",
      explanation: `${to} has sealed a receipt for ${receipt.count} message(s) of this conversation. Its running hash is equal at both ends.`,
      value: hex(receipt.running_hash),
    },
  ];
}

function receivedSteps({ places, from }) {
  return [
    { label: "in order", explanation: `Place ${places[0].place} of its conversation: no message before it is missing.` },
    { label: "acknowledged", explanation: `After it was on the disk of this browser, a receipt over this running hash has gone back to ${from}.` },
  ];
}
