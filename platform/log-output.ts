import { write, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

const standardOutput = 1;
/** So much is handed over at once, and lost by a process that is killed in that moment. */
const slabBytes = 65_536;
/** Short for a reader, and long enough that a busy process does not hand over each few lines. */
const gatherMs = 5;
/** What waits for a reader that does not keep up, or for a disk that is full; lines beyond it are lost. */
const waitingMaxBytes = 16_777_216;
const retryMs = 20;
/** How long a process that ends waits for a reader. */
const lastWaitMs = 1_000;
/** At most, in UTF-8. */
const bytesPerCodeUnit = 3;

/**
 * Standard output for log lines, which never blocks the event loop. The lines of a few milliseconds go out
 * together: a write of its own for each costs a busy process as much as answering does. They are bytes
 * already while they wait, for a text pieced together of many would be read once more, from cold memory.
 *
 * Output that cannot be written is tried again, and keeps the process from nothing: beyond 16 MB of it
 * lines are lost, and `onLost` is told how many once there is room. What is left when the process exits,
 * by an uncaught error too, is written then, if it can be; a process that is killed loses what waits.
 */
export function createLogOutput(onLost: (lines: number) => void): DestinationStream {
  let slab = Buffer.allocUnsafeSlow(slabBytes);
  /** Where the lines begin that were not handed over, and where they end. */
  let begin = 0;
  let end = 0;
  let timer: NodeJS.Timeout | undefined;
  /** Handed over, and not written. */
  const waiting: Buffer[] = [];
  let waitingBytes = 0;
  /** Of the first of them: whether the operating system has it, or did not take it and is asked again. */
  let standing: 'idle' | 'writing' | 'refused' = 'idle';
  /** Nobody reads any more. */
  let isClosed = false;
  let lostLines = 0;

  function handOver(): void {
    clearTimeout(timer);
    timer = undefined;
    if (begin === end) return;
    waiting.push(slab.subarray(begin, end));
    waitingBytes += end - begin;
    begin = end;
    if (standing === 'idle') writeFirst();
  }

  function writeFirst(): void {
    const [lines] = waiting;
    standing = lines === undefined ? 'idle' : 'writing';
    if (lines === undefined) return;
    write(standardOutput, lines, (error, bytes) => {
      if (error === null) {
        took(lines, bytes);
        writeFirst();
      } else if (error.code === 'EPIPE') {
        isClosed = true;
        waiting.length = 0;
      } else {
        standing = 'refused';
        // A process that has nothing else to do may end meanwhile.
        setTimeout(writeFirst, retryMs).unref();
      }
    });
  }

  function took(lines: Buffer, bytes: number): void {
    waitingBytes -= bytes;
    if (bytes < lines.length) waiting[0] = lines.subarray(bytes);
    else waiting.shift();
    if (lostLines === 0 || waitingBytes > waitingMaxBytes / 2) return;
    const lost = lostLines;
    lostLines = 0;
    onLost(lost);
  }

  process.on('exit', () => {
    if (standing === 'writing') waiting.shift();
    if (!isClosed) writeLast(Buffer.concat([...waiting, slab.subarray(begin, end)]));
  });

  return {
    write(line) {
      if (isClosed) return;
      if (waitingBytes > waitingMaxBytes) {
        lostLines += 1;
        return;
      }
      const maxBytes = bytesPerCodeUnit * line.length;
      if (end + maxBytes > slab.length) {
        handOver();
        slab = Buffer.allocUnsafeSlow(Math.max(slabBytes, maxBytes));
        begin = end = 0;
      }
      end += slab.write(line, end);
      timer ??= setTimeout(handOver, gatherMs);
    },
  };
}

/** Gives up on what cannot be written: there is nobody left to tell. */
function writeLast(rest: Buffer): void {
  const endsAtMs = performance.now() + lastWaitMs;
  let left = rest;
  while (left.length > 0) {
    try {
      left = left.subarray(writeSync(standardOutput, left));
    } catch (error) {
      const isBusy = (error as NodeJS.ErrnoException).code === 'EAGAIN';
      if (!isBusy || performance.now() > endsAtMs) return;
    }
  }
}
