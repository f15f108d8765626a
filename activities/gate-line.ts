import type { AppGates, GateAnswer, GateEntry, GateRequest } from '../connections/app-gate.ts';

/** Between two looks at a gate for which somebody of this process waits; up to twice this. */
const lookAgainMs = 150;

export interface GateLine {
  /** As `AppGates.enter`, except that it waits so long for those who come first. */
  enter(request: GateRequest, patienceMs: number): Promise<GateAnswer>;
}

interface Waiting {
  request: GateRequest;
  resolve(answer: GateAnswer): void;
  reject(error: unknown): void;
}

/**
 * A line before each gate, so that one of this process asks PostgreSQL for all who wait, and no Workflow
 * wakes up only to find the gate still busy. Whoever's grace runs out passes the line.
 */
export function createGateLine(dependencies: {
  gates: AppGates;
  /** A random number in [0, 1). */
  random: () => number;
  sleep: (ms: number) => Promise<void>;
}): GateLine {
  const { gates, random, sleep } = dependencies;
  const lines = new Map<string, Waiting[]>();

  async function serve(key: string, line: Waiting[]): Promise<void> {
    for (let first = line[0]; first !== undefined; first = line[0]) {
      const answer = await gates.enter(first.request).catch((error: unknown) => ({ error }));
      if ('kind' in answer && isBusy(answer)) {
        await sleep(lookAgainMs * (1 + random()));
        continue;
      }
      // Whoever has lost patience meanwhile sends nothing, and gives the place back.
      const isGone = !leave(line, first);
      if ('error' in answer) first.reject(answer.error);
      else if (!isGone) first.resolve(answer);
      else if (answer.kind === 'open') await giveBack(answer.entry);
    }
    lines.delete(key);
  }

  /** A store that is away costs the lease its time, nothing else. */
  async function giveBack(entry: GateEntry): Promise<void> {
    await gates.leave(entry, { kind: 'unsent' }).catch(() => undefined);
  }

  function join(request: GateRequest): { key: string; line: Waiting[] } {
    const key = `${request.appId} ${request.host}`;
    const line = lines.get(key) ?? [];
    lines.set(key, line);
    return { key, line };
  }

  return {
    async enter(request, patienceMs) {
      const isLine = lines.has(`${request.appId} ${request.host}`);
      if (!isLine || request.isUrgent) {
        const answer = await gates.enter(request);
        if (!isBusy(answer)) return answer;
      }
      return new Promise((resolve, reject) => {
        const { key, line } = join(request);
        const waiting = { request, resolve, reject };
        const timer = setTimeout(() => {
          leave(line, waiting);
          resolve({ kind: 'wait', afterMs: 0, reason: 'busy' });
        }, patienceMs);
        waiting.resolve = (answer) => {
          clearTimeout(timer);
          resolve(answer);
        };
        waiting.reject = (error) => {
          clearTimeout(timer);
          reject(error instanceof Error ? error : new Error(String(error)));
        };
        line.push(waiting);
        if (line.length === 1) void serve(key, line);
      });
    },
  };
}

function isBusy(answer: GateAnswer): boolean {
  return answer.kind === 'wait' && answer.reason === 'busy';
}

/** False: it had left already. */
function leave(line: Waiting[], waiting: Waiting): boolean {
  const at = line.indexOf(waiting);
  if (at !== -1) line.splice(at, 1);
  return at !== -1;
}
