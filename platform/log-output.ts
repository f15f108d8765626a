import { pino, type DestinationStream } from 'pino';

/**
 * Beyond it the lines of one turn go out without waiting for its end; so much at most is in the hands of the
 * operating system at once, where a process that ends in that moment cannot get it back. One batch is written
 * a turn: were it smaller than what a busy turn has to say, lines would queue, and grow old in memory.
 */
const batchMaxCharacters = 64_000;

/**
 * Standard output for log lines, which never blocks the event loop. The lines of one turn of the loop go out
 * together as it ends: a write of its own for each costs a busy process as much as answering does. What is
 * left when the process exits, by an uncaught error too, is written then; a process that is killed loses
 * the lines of its last turn, and those that wait for a reader of standard output who does not keep up.
 */
export function createLogOutput(fileDescriptor = 1): DestinationStream {
  const output = pino.destination({ dest: fileDescriptor, sync: false });
  let batch = '';
  let isScheduled = false;

  function writeOut(): void {
    isScheduled = false;
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
      else if (!isScheduled) {
        isScheduled = true;
        setImmediate(writeOut);
      }
    },
  };
}
