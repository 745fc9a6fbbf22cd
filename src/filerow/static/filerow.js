// Uploads a file straight to the store: with progress, retries, resumption; gives back the claim for it.
//
//   import { upload } from "/files/filerow.js";
//   const claim = await upload(file, { url: "/uploads", onProgress: ({ loaded, total }) => ... });

const SIGNATURES = {
  "89504e47": "image/png", ffd8ff: "image/jpeg", 47494638: "image/gif", 25504446: "application/pdf",
  "5249.{12}5745": "image/webp", ".{8}66747970617669": "image/avif", ".{8}667479706(865|d..66)": "image/heic",
};
const TAKEN = /<Code>(UnauthorizedBlobOver|AuthorizationPerm)/;

export class UploadError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.name = "UploadError";
    this.status = status;
  }
}

const aborted = () => new DOMException("the upload was aborted", "AbortError");

function send(method, url, headers, body, signal, onProgress) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(aborted());
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (onProgress) request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onabort = () => reject(aborted());
    request.onloadend = () => {
      signal.removeEventListener("abort", stop);
      resolve({ status: request.status, text: request.responseText });
    };
    signal.addEventListener("abort", stop);
    request.send(body);
  });
}

const wait = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => reject(aborted()));
  });

function reason(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return "";
  }
}

async function retried(attempt, { retries, delay }, signal) {
  for (let tried = 0; ; tried++) {
    const { status, text } = await attempt();
    if (status >= 200 && status < 300) return text;
    const passing = !status || status === 408 || status === 429 || status >= 500;
    if (tried >= retries || !passing) throw new UploadError(reason(text) || `upload failed (${status})`, status);
    await wait(delay * 2 ** tried * (0.5 + Math.random()), signal);
  }
}

const hexOf = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// A claim for other bytes is refused.
async function typeOf(file) {
  const first = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  const hex = hexOf(first);
  return Object.entries(SIGNATURES).find(([key]) => hex.match("^" + key))?.[1] ?? file.type;
}

// SHA-256, which the store may demand; browsers compute it on HTTPS pages only.
async function digestOf(blob) {
  if (!crypto.subtle) throw new UploadError("the store demands a checksum, and browsers compute one on HTTPS pages only");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return `sha256:${hexOf(digest)}`;
}

async function run(file, options, signal, state) {
  const { url, headers, onProgress, onBegin, input, checksum, claim } = options;
  const ask = async (action, values, until = signal) => {
    const json = { ...headers, "Content-Type": "application/json" };
    return JSON.parse(await retried(() => send("POST", `${url}/${action}`, json, JSON.stringify(values), until), options, until));
  };
  const about = async () => ({ filename: file.name || "file", size: file.size, content_type: await typeOf(file), checksum });
  let ticket = await (claim ? ask("resume", { claim }) : ask("begin", await about()));
  state.discard = () => ask("abort", { claim: ticket.claim }, new AbortController().signal);
  if (ticket.checksum && ticket.method !== "PARTS") {
    ticket = await ask("resume", { claim: ticket.claim, checksum: await digestOf(file) });
  }
  onBegin?.(ticket.claim);
  const report = (loaded) => onProgress?.({ loaded: Math.min(loaded, file.size), total: file.size });
  const put = (method, to, names, body, before) => {
    const attempt = async () => {
      const answer = await send(method, to, names, body, signal, (loaded) => report(before + loaded));
      // Taken (on Azure: 403): by an attempt of ours whose answer was lost. The claim is checked anyway.
      return [409, 412].includes(answer.status) || TAKEN.test(answer.text) ? { status: 200 } : answer;
    };
    return retried(attempt, options, signal);
  };

  if (ticket.method === "PARTS") {
    let done = ticket.parts.reduce((left, part) => left - (part.end - part.start), file.size);
    for (let part of ticket.parts) {
      const { number, start, end } = part;
      const body = file.slice(start, end);
      if (!part.url) {
        const known = await ask("resume", { claim: ticket.claim, checksums: { [number]: await digestOf(body) } });
        part = known.parts.find((one) => one.number === number);
      }
      // no part is left where an attempt was lost on its way back
      if (part) await put("PUT", part.url, { ...ticket.headers, ...part.headers }, body, done);
      done += end - start;
    }
  } else {
    let body = file;
    if (ticket.method === "POST") {
      body = new FormData();
      for (const [name, value] of Object.entries(ticket.fields)) body.append(name, value);
      body.append("file", file);
    }
    await put(ticket.method, ticket.url, ticket.headers, body, 0);
  }
  report(file.size);
  if (input) input.value = ticket.claim;
  return ticket.claim;
}

export function upload(file, options) {
  const stop = new AbortController();
  const abort = () => stop.abort();
  if (options.signal?.aborted) abort();
  options.signal?.addEventListener("abort", abort);
  const state = {};
  const job = run(file, { headers: {}, retries: 5, delay: 500, ...options }, stop.signal, state).catch(async (error) => {
    if (error.name === "AbortError") await state.discard?.().catch(() => {});
    throw error;
  });
  return Object.assign(job, { abort });
}
