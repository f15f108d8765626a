/** As the body of a PUT may be. */
export const lineMaxBytes = 1_048_576;

const newline = 0x0a;

/** One line of a file that is not blank. */
export interface Line {
  /** From 1, as an editor counts. */
  number: number;
  /** Undefined: see `fault`. */
  text: string | undefined;
  /** Why it cannot be read. */
  fault: string | undefined;
  /** Bytes of the file up to its end. */
  endBytes: number;
}

/**
 * The lines of a stream in UTF-8, in memory one at a time, and of one that is too long only so much as shows
 * that. A line that cannot be read is told as such, and the next one is read.
 */
export async function* readLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let parts: Buffer[] = [];
  let sizeBytes = 0;
  let number = 1;
  let endBytes = 0;

  function take(): Line | undefined {
    const bytes = Buffer.concat(parts);
    const isTooLong = sizeBytes > lineMaxBytes;
    parts = [];
    sizeBytes = 0;
    const line = { number, text: undefined, fault: undefined, endBytes };
    number += 1;
    if (isTooLong) return { ...line, fault: `is longer than ${lineMaxBytes} bytes` };
    try {
      const text = decoder.decode(bytes);
      // A byte order mark is no part of the first line.
      const marked = line.number === 1 ? text.replace(/^\uFEFF/, '') : text;
      return marked.trim() === '' ? undefined : { ...line, text: marked };
    } catch {
      return { ...line, fault: 'is not UTF-8' };
    }
  }

  for await (const chunk of chunks) {
    let from = 0;
    while (from < chunk.length) {
      const at = chunk.indexOf(newline, from);
      const part = chunk.subarray(from, at === -1 ? chunk.length : at);
      sizeBytes += part.length;
      if (sizeBytes <= lineMaxBytes) parts.push(part);
      else parts = [];
      from += part.length + (at === -1 ? 0 : 1);
      endBytes += part.length + (at === -1 ? 0 : 1);
      if (at === -1) break;
      const line = take();
      if (line !== undefined) yield line;
    }
  }
  if (sizeBytes > 0) {
    const last = take();
    if (last !== undefined) yield last;
  }
}
