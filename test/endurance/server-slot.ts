import { setTimeout as sleep } from 'node:timers/promises';
import type { AwayWindow } from './away-windows.ts';
import type { Reaper } from './reaper.ts';

const startTriesMax = 10;
const startPauseMs = 500;

interface Server {
  pid: number;
  ended: Promise<string>;
  stop(): Promise<void>;
}

/** PostgreSQL or Temporal: killed and started again on its data. */
export interface ServerSlot {
  /** When it did not answer, from the kill until it was ready again. */
  away: readonly AwayWindow[];
  isAway(): boolean;
  kill(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function createServerSlot(
  start: () => Promise<Server>,
  { reaper, nowMs }: { reaper: Reaper; nowMs: () => number },
): ServerSlot {
  const away: AwayWindow[] = [];
  let server: Server | undefined;

  return {
    away,
    isAway: () => away.at(-1)?.untilMs === Infinity,
    async kill() {
      if (server === undefined) return;
      away.push({ fromMs: nowMs(), untilMs: Infinity });
      process.kill(server.pid, 'SIGKILL');
      await server.ended;
      reaper.forget(server.pid);
    },
    async start() {
      // The sessions of a killed PostgreSQL end within moments, and until then its data is in use.
      for (let tries = 1; ; tries += 1) {
        try {
          server = await start();
          break;
        } catch (error) {
          if (tries === startTriesMax) throw error;
          await sleep(startPauseMs);
        }
      }
      reaper.watch(server.pid);
      const last = away.at(-1);
      if (last !== undefined) last.untilMs = nowMs();
    },
    async stop() {
      if (server === undefined) return;
      await server.stop();
      reaper.forget(server.pid);
    },
  };
}
