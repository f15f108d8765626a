import { setTimeout as sleep } from 'node:timers/promises';
import type { AwayWindow } from './away-windows.ts';
import { providerFaults, type ChaosAction, type ProviderFault } from './chaos-schedule.ts';
import type { EnduranceStack } from './endurance-stack.ts';

/** Of the token requests that a fault of the provider meets; those that may end grants meet fewer. */
const faultShares: Record<ProviderFault, number> = {
  delay: 0.4,
  drop: 0.15,
  unavailable: 0.6,
  bad_gateway: 0.2,
  truncate: 0.15,
  rate_limit: 0.6,
};

/** A fault as it was: from its first moment until what it struck was ready again. */
export interface Strike extends AwayWindow {
  action: ChaosAction;
}

export interface Chaos {
  strikes: readonly Strike[];
  /** What is broken just now, for people. */
  current(): string;
  /** Resolves when the schedule is over and everything is back; rejects if something does not come back. */
  ended: Promise<void>;
}

/** Carries the schedule out; the faults of one victim follow each other. */
export function conductChaos(options: {
  schedule: readonly ChaosAction[];
  stack: EnduranceStack;
  nowMs: () => number;
  onStrike: (action: ChaosAction) => void;
}): Chaos {
  const { schedule, stack, nowMs, onStrike } = options;
  const startedAtMs = nowMs();
  const strikes: Strike[] = [];
  const queues = new Map<string, Promise<void>>();
  const services = [...stack.gateways, ...stack.workers];

  async function carryOut(action: ChaosAction): Promise<void> {
    const strike: Strike = { action, fromMs: nowMs(), untilMs: Infinity };
    strikes.push(strike);
    onStrike(action);
    await strikeAndHeal(action);
    strike.untilMs = nowMs();
  }

  async function strikeAndHeal(action: ChaosAction): Promise<void> {
    const { victim, what, durationMs } = action;
    if (victim === 'provider') {
      await stack.provider.setFault(what, faultShares[what]);
      await sleep(durationMs);
      await stack.provider.setFault(what, 0);
      return;
    }
    if (victim === 'postgres' || victim === 'temporal') {
      await stack[victim].kill();
      await sleep(durationMs);
      await stack[victim].start();
      return;
    }
    const slot = services.find(({ name }) => name === victim);
    if (slot === undefined) throw new Error(`there is no ${victim}`);
    if (what === 'stop') {
      slot.stop();
      await sleep(durationMs);
      slot.resume();
      return;
    }
    await (what === 'kill' ? slot.kill() : slot.terminate());
    await sleep(durationMs);
    await slot.start();
  }

  async function run(): Promise<void> {
    for (const action of schedule) {
      await sleep(Math.max(startedAtMs + action.atMs - nowMs(), 0));
      const before = queues.get(action.victim) ?? Promise.resolve();
      const queued = before.then(() => carryOut(action));
      // Its failure is seen at the end; until then it must not be unhandled.
      queued.catch(() => undefined);
      queues.set(action.victim, queued);
    }
    await Promise.all(queues.values());
    for (const what of providerFaults) await stack.provider.setFault(what, 0);
  }

  return {
    strikes,
    current: () =>
      strikes
        .filter(({ untilMs }) => untilMs === Infinity)
        .map(({ action }) => `${action.victim} ${action.what}`)
        .join(', '),
    ended: run(),
  };
}
