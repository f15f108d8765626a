import { fork, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';

/** What one of the programs in bench/programs answers its parent; arguments and results are JSON. */
type Methods = Record<string, (argument: never) => Promise<unknown>>;

interface Call {
  number: number;
  method: string;
  argument: unknown;
}

interface Answer {
  number: number;
  result?: unknown;
  error?: string;
}

export interface Child<Offered> {
  pid: number;
  call: Offered;
  stop(): Promise<void>;
}

/** In the child: answers the calls of the process that forked it, and ends with it. */
export function serveCalls(methods: Methods): void {
  const send = (answer: Answer) => process.send?.(answer);
  process.on('message', ({ number, method, argument }: Call) => {
    const run = methods[method] as ((argument: unknown) => Promise<unknown>) | undefined;
    if (run === undefined) {
      send({ number, error: `there is no method ${method}` });
      return;
    }
    run(argument).then(
      (result) => send({ number, result }),
      (error: unknown) => send({ number, error: String(error) }),
    );
  });
  process.on('disconnect', () => process.exit(0));
  send({ number: 0 });
}

/** Starts one of the programs and waits until it serves. Its methods are called as those of an object. */
export async function startProgram<Offered extends object>(
  path: string,
  argument: unknown,
  stdio: StdioOptions = ['ignore', 'inherit', 'inherit', 'ipc'],
): Promise<Child<Offered>> {
  const child = fork(path, [JSON.stringify(argument)], {
    execArgv: ['--import', 'tsx'],
    stdio,
  });
  const waiting = new Map<number, (answer: Answer) => void>();
  child.on('message', (answer: Answer) => {
    waiting.get(answer.number)?.(answer);
    waiting.delete(answer.number);
  });
  child.on('exit', (code) => {
    for (const [number, settle] of waiting) {
      settle({ number, error: `${path} has ended with ${String(code)}` });
    }
  });
  const ready = await new Promise<Answer>((resolve) => waiting.set(0, resolve));
  if (ready.error !== undefined) throw new Error(ready.error);
  let calls = 0;
  const call = new Proxy({} as Offered, {
    get: (_target, method: string) => async (argument: unknown) => {
      calls += 1;
      const number = calls;
      const answer = await new Promise<Answer>((resolve) => {
        waiting.set(number, resolve);
        child.send({ number, method, argument } satisfies Call);
      });
      if (answer.error !== undefined) throw new Error(`${method}: ${answer.error}`);
      return answer.result;
    },
  });
  return { pid: child.pid ?? 0, call, stop: () => stopChild(child) };
}

/** What the child was started with; the program knows its type. */
export function programArgument(): unknown {
  return JSON.parse(process.argv[2] ?? 'null');
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
