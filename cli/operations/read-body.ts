import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { bodyMaxBytes } from '../../gateway/read-body.ts';

/** The JSON of a file, or of standard input for `-`. Secrets come so, and not as arguments, which others see. */
export async function readBodyText(file: string): Promise<string> {
  const body = file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
  if (Buffer.byteLength(body) > bodyMaxBytes) {
    throw new Error(
      `${file} is larger than ${bodyMaxBytes} bytes, which is the most a body may be.`,
    );
  }
  return body;
}
