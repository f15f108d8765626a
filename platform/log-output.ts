import { pino, type DestinationStream } from 'pino';

/**
 * Beyond it lines go out without waiting; so much at most is in the hands of the operating system at once,
 * where a process that ends in that moment cannot get it back. One batch is written a turn: were it
 * smaller than what a busy turn has to say, lines would queue, and grow old in memory.
 */
const batchMaxCharacters = 64_000;
/** Short for a reader, and long enough that a busy process does not hand over each few lines. */
const batchMaxMs = 5;

/**
 * Standard output for log lines, which never blocks the event loop. The lines of a few milliseconds go out
 * together: a write of its own for each costs a busy process as much as answering does. What is
 * left when the process exits, by an uncaught error too, is written then; a process that is killed loses
 * the lines of these milliseconds, and those that wait for a reader of standard output who does not keep up.
 */
export function createLogOutput(fileDescriptor = 1): DestinationStream {
  const output = pino.destination({ dest: fileDescriptor, sync: false });
  let batch = '';
  let timer: NodeJS.Timeout | undefined;

  function writeOut(): void {
    clearTimeout(timer);
    timer = undefined;
    if (batch === '') return;
    const lines = batch;
    batch = '';
    output.write(lines);
  }
  process.on('exit', () => {
    writeOut();
    output.flushSync();
  });

  return {
    write(line) {
      batch += line;
      if (batch.length > batchMaxCharacters) writeOut();
      else timer ??= setTimeout(writeOut, batchMaxMs);
    },
  };
}
