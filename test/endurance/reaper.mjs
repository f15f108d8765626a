// Ends what a run of the endurance test leaves behind when it ends without saying goodbye, kill -9
// included. Reads lines from its standard input: `+<pid>`, `-<pid>`, `done`. Plain Node.
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';

const [folder] = process.argv.slice(2);
const pids = new Set();
let isDone = false;

process.on('SIGINT', () => undefined);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'done') isDone = true;
  else if (line.startsWith('+')) pids.add(Number(line.slice(1)));
  else pids.delete(Number(line.slice(1)));
}
if (!isDone) {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
  }
}
if (folder) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 });
