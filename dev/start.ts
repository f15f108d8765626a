import { mkdirSync, rmSync, writeFileSync } from 'node:fs';

import { TokenManagerError } from '../client/contract.ts';
import { curlOptions, describeStack, joiningEnvironment } from './describe-stack.ts';
import { localDataIn } from './local-data.ts';
import { findFreePort } from './ports.ts';
import { SetupError } from './setup-error.ts';
import { createShutdown, type Shutdown } from './shutdown.ts';
import { takeStackLock } from './stack-lock.ts';
import { startStack } from './start-stack.ts';

const interruptedExitCode = 130;
/** npm hands on the Ctrl-C that the terminal has already sent: so soon after, it is the same one. */
const sameSignalMs = 500;

/**
 * `npm start`: everything embedded on 127.0.0.1, data under `.token-manager` of the checkout `root`.
 * Returns when all is ready; from then on a signal, or the end of a child, ends the process.
 */
export async function start(root: string): Promise<void> {
  const data = localDataIn(root);
  mkdirSync(data.directory, { recursive: true });
  const shutdown = createShutdown((line) => console.error(line));
  const end = endOnce(shutdown);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => end.bySignal());
  }
  try {
    const lock = takeStackLock(data.lock);
    shutdown.add('The lock', { stop: lock.release });
    rmSync(data.stack, { force: true });
    shutdown.add('The stack file', { stop: () => rmSync(data.stack, { force: true }) });
    const stack = await startStack({
      root,
      data,
      env: process.env,
      shutdown,
      onEnded: end.byFailure,
    });
    writeFileSync(data.stack, `${JSON.stringify(stack, null, 2)}\n`, { mode: 0o600 });
    const texts = {
      joiningEnvironment: joiningEnvironment(stack, await findFreePort()),
      curlOptions: curlOptions(process.env),
      stackFile: data.stack,
    };
    console.log(describeStack(stack, texts));
  } catch (error) {
    end.byFailure(readable(error));
  }
}

/** Ends the process after everything has been stopped, whichever reason comes first. */
function endOnce(shutdown: Shutdown): {
  bySignal: () => void;
  byFailure: (reason: string) => void;
} {
  let isEnding = false;
  let signalledAtMs = -Infinity;
  function end(exitCode: number): void {
    isEnding = true;
    void shutdown.run().then(() => process.exit(exitCode));
  }
  return {
    bySignal() {
      if (performance.now() - signalledAtMs < sameSignalMs) return;
      signalledAtMs = performance.now();
      if (isEnding) {
        shutdown.killAll();
        process.exit(interruptedExitCode);
      }
      console.log('\nStopping … (once more: at once)');
      end(0);
    },
    byFailure(reason) {
      if (isEnding) return;
      console.error(`\n${reason}`);
      end(1);
    },
  };
}

function readable(error: unknown): string {
  if (error instanceof SetupError || error instanceof TokenManagerError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
