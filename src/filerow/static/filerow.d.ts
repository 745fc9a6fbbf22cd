/** How far an upload is, in bytes of the file. */
export interface Progress {
  loaded: number;
  total: number;
}

export interface UploadOptions {
  /** Where the application has mounted direct upload: requests go to `${url}/begin`, `/resume` and `/abort`. */
  url: string;
  /** Headers for these requests, such as a CSRF token; they are never sent to the store. */
  headers?: Record<string, string>;
  /** Called while bytes are sent, and once at the end. */
  onProgress?: (progress: Progress) => void;
  /** Called with the claim before the first byte is sent; keep it to resume the upload later. */
  onBegin?: (claim: string) => void;
  /** Aborts the upload. */
  signal?: AbortSignal;
  /** A form field that is given the claim when the upload has succeeded. */
  input?: { value: string } | null;
  /** The claim of an upload of the same file to resume: parts that are there already are skipped. */
  claim?: string;
  /** `sha256:` and the 64 hexadecimal digits of the file, to be checked by the store and by the application. */
  checksum?: string;
  /** How often a request is repeated after a lost connection, or a status of 408, 429, or 500 and above; 5 by default. */
  retries?: number;
  /** Milliseconds before the first repetition, doubled with each; 500 by default. */
  delay?: number;
}

/** The promise of a claim. It is rejected with `UploadError`, or with a `DOMException` named `AbortError`. */
export interface Upload extends Promise<string> {
  /** Stop, and have what was uploaded removed. */
  abort(): void;
}

/** The application or the store refused; `status` is the HTTP status, 0 for a connection that was lost for good. */
export declare class UploadError extends Error {
  constructor(message: string, status?: number);
  readonly status: number;
}

/** Upload a file straight to the store. */
export declare function upload(file: File | Blob, options: UploadOptions): Upload;
