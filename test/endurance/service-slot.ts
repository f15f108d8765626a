import { join } from 'node:path';
import { findFreePort } from '../../dev/ports.ts';
import { startServiceProcess, type ServiceProcess } from '../support/service-process.ts';
import type { AwayWindow } from './away-windows.ts';
import type { ServiceName } from './chaos-schedule.ts';
import type { Reaper } from './reaper.ts';

const program = join(import.meta.dirname, 'service-main.mjs');
/** A busy machine takes long to start a process. */
const readyLimitMs = 180_000;
const startsMax = 3;
const outputTailLength = 16_000;

/** One process from start to end, by the name that PostgreSQL knows it by. */
export interface Life {
  name: string;
  /** Infinity until it has said once that it is ready. */
  readyAtMs: number;
  /** Killed, or ended after SIGTERM; Infinity while it lives. */
  endedAtMs: number;
  /** The run has killed it or told it to end. */
  isEnding: boolean;
  /** The end of its output, if it ended by itself. */
  lastWords: string | null;
  /** Stopped (SIGSTOP) in these. */
  stops: AwayWindow[];
}

/** The place of a gateway or worker, which one process after the other fills. */
export interface ServiceSlot {
  name: ServiceName;
  /** Of a gateway; the same for each process in this place. */
  origin: string;
  /** The process that is in place or was last. */
  current(): Life;
  lives: readonly Life[];
  start(): Promise<void>;
  kill(): Promise<void>;
  terminate(): Promise<void>;
  stop(): void;
  resume(): void;
}

export async function createServiceSlot(options: {
  name: ServiceName;
  /** Environment of a process that calls itself `name` at PostgreSQL. */
  env: (name: string) => Record<string, string>;
  reaper: Reaper;
  nowMs: () => number;
}): Promise<ServiceSlot> {
  const { name, reaper, nowMs } = options;
  const port = await findFreePort();
  const lives: Life[] = [];
  let service: ServiceProcess | undefined;

  function current(): Life {
    const life = lives.at(-1);
    if (life === undefined) throw new Error(`${name} was never started`);
    return life;
  }

  function running(): ServiceProcess {
    if (service === undefined) throw new Error(`${name} was never started`);
    return service;
  }

  async function end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const ending = running();
    const life = current();
    life.isEnding = true;
    if (signal === 'SIGKILL') life.endedAtMs = nowMs();
    if (signal === 'SIGKILL') ending.kill(signal);
    else await ending.stop();
    await ending.exited;
    life.endedAtMs = Math.min(life.endedAtMs, nowMs());
    reaper.forget(ending.pid);
  }

  /** Whether it became ready; false: it ended by itself before. */
  async function startOne(): Promise<boolean> {
    const life: Life = {
      name: `${name}.${String(lives.length + 1)}`,
      readyAtMs: Infinity,
      endedAtMs: Infinity,
      isEnding: false,
      lastWords: null,
      stops: [],
    };
    const command = name.startsWith('gateway') ? 'gateway' : 'worker';
    const started = await startServiceProcess(
      command,
      { ...options.env(life.name), PORT: String(port) },
      { program: [program] },
    );
    lives.push(life);
    service = started;
    reaper.watch(started.pid);
    void started.exited.then(() => {
      if (!life.isEnding) life.lastWords = started.output().slice(-outputTailLength);
      life.endedAtMs = Math.min(life.endedAtMs, nowMs());
    });
    // Until PostgreSQL and Temporal are back it does not say so.
    try {
      await started.waitUntil('ready', readyLimitMs);
    } catch (error) {
      if (started.hasExited()) return false;
      throw error;
    }
    life.readyAtMs = nowMs();
    return true;
  }

  return {
    name,
    origin: `http://127.0.0.1:${port}`,
    current,
    lives,
    async start() {
      // One that ends by itself is told of in the ledger, which needs a process in this place to be written.
      for (let starts = 1; !(await startOne()); starts += 1) {
        if (starts === startsMax) throw new Error(`${name} ends by itself: ${running().output()}`);
      }
    },
    kill: () => end('SIGKILL'),
    terminate: () => end('SIGTERM'),
    stop() {
      running().kill('SIGSTOP');
      current().stops.push({ fromMs: nowMs(), untilMs: Infinity });
    },
    resume() {
      running().kill('SIGCONT');
      const stop = current().stops.at(-1);
      if (stop !== undefined) stop.untilMs = nowMs();
    },
  };
}
