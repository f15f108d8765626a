import fc from 'fast-check';
import type { ClaimWorld } from './claim-world.ts';
import type { Step } from './simulation.ts';

/** How many of each fault one run may have; what is not named is not limited. */
export interface FaultBudget {
  kill: number;
  pause: number;
  drop: number;
  statement: number;
  outage: number;
  terminate: number;
  import: number;
}

/** The model of fast-check: what may still happen. */
interface Model {
  world: ClaimWorld;
  budget: FaultBudget;
}

type ClaimCommand = fc.AsyncCommand<Model, ClaimWorld>;

/** Moments at which a fault or another caller matters; the more telling ones are named more often. */
const moments = [
  'load-exchange-subject',
  'connect',
  ...['claim-refresh', 'claim-refresh'],
  ...['send', 'send', 'send'],
  ...['answer', 'answer', 'answer'],
  ...['commit-tokens', 'commit-tokens', 'commit-tokens'],
  'commit-late-tokens',
  'read-exchange-position',
  'leave-late-tokens',
  'settle-failure',
  'settle-verdict',
  'history',
  'deliver',
];
const providerSteps = new Set(['connect', 'send', 'answer']);
const simulatedSteps = new Set([...providerSteps, 'history', 'deliver']);

/** What befalls a process at one of its steps. */
const strikes = [
  ...(['kill', 'kill after', 'pause', 'pause', 'outage'] as const),
  ...(['refuse', 'lose', 'lose'] as const),
];
type Strike = (typeof strikes)[number];

const kindOfStrike = {
  kill: 'kill',
  'kill after': 'kill',
  pause: 'pause',
  outage: 'outage',
} as const satisfies Partial<Record<Strike, keyof FaultBudget>>;

function command(
  text: string,
  check: (model: Model) => boolean,
  run: (world: ClaimWorld, model: Model) => Promise<void>,
): ClaimCommand {
  return { check, run: (model, world) => run(world, model), toString: () => text };
}

const always = (): boolean => true;

function pick<Item>(items: Item[], index: number): Item | undefined {
  return items[index % Math.max(items.length, 1)];
}

/** Goes on until something is about to happen that was not about to happen before; somebody calls. */
async function goTo(world: ClaimWorld, moment: string, newestFirst: boolean): Promise<Step[]> {
  const known = new Set(world.simulation.runnableSteps());
  const news = (): Step[] =>
    world.simulation.runnableSteps().filter((step) => step.label === moment && !known.has(step));
  await world.demand();
  await world.runUntil(() => news().length > 0, newestFirst);
  return news();
}

async function strike(world: ClaimWorld, step: Step, how: Strike): Promise<void> {
  const { simulation } = world;
  switch (how) {
    case 'kill':
      return world.kill(step.process);
    case 'kill after':
      return world.kill(step.process, step);
    case 'pause':
      return world.pause(step.process);
    case 'outage':
      return world.setStoreAway(step.process, true);
    case 'refuse':
      return simulation.perform(step, 'refused');
    case 'lose':
      return simulation.perform(step, 'lost');
  }
}

/** What a strike costs; undefined where it cannot fall, such as on a result on its way to Temporal. */
function costOf(how: Strike, label: string): keyof FaultBudget | undefined {
  if (how !== 'refuse' && how !== 'lose') return kindOfStrike[how];
  if (providerSteps.has(label)) return 'drop';
  return simulatedSteps.has(label) ? undefined : 'statement';
}

const moment = fc.constantFrom(...moments);
const newestFirst = fc.boolean();
const index = fc.nat({ max: 5 });

const strikeAt = fc
  .record({ moment, newestFirst, how: fc.constantFrom(...strikes) })
  .map(({ moment, newestFirst, how }) => {
    const cost = costOf(how, moment);
    return command(
      `${how}(${moment}${newestFirst ? ', newest first' : ''})`,
      ({ budget }) => cost !== undefined && budget[cost] > 0,
      async (world, { budget }) => {
        const [step] = await goTo(world, moment, newestFirst);
        if (step === undefined || cost === undefined) return;
        budget[cost] -= 1;
        await strike(world, step, how);
      },
    );
  });

const proceedTo = fc.record({ moment, newestFirst }).map(({ moment, newestFirst }) =>
  command(`until(${moment}${newestFirst ? ', newest first' : ''})`, always, async (world) => {
    await goTo(world, moment, newestFirst);
  }),
);

const proceed = index.map((at) =>
  command(
    `step(${at})`,
    ({ world }) => world.simulation.runnableSteps().length > 0,
    async (world) => {
      const step = pick(world.simulation.runnableSteps(), at);
      if (step !== undefined) await world.simulation.perform(step);
    },
  ),
);

const elapse = fc
  .record({ seconds: fc.constantFrom(1, 3, 6, 20, 70), newestFirst })
  .map(({ seconds, newestFirst }) =>
    command(`elapse(${seconds} s)`, always, async (world) => {
      const untilMs = world.simulation.nowMs + 1_000 * seconds;
      await world.runUntil(() => world.simulation.nowMs >= untilMs, newestFirst);
      if (world.simulation.isIdle())
        await world.simulation.passTime(untilMs - world.simulation.nowMs);
    }),
  );

/** A provider that takes its time: its answers do not come while this passes. */
const passTime = fc.constant(
  command(
    'pass time',
    ({ world }) => world.simulation.mayTimePass(),
    (world) => world.simulation.passTime(),
  ),
);

const demand = fc.constant(
  command(
    'demand',
    ({ world }) => world.temporal.openRun() === undefined,
    (world) => world.demand(),
  ),
);

const resume = index.map((at) =>
  command(
    `continue(${at})`,
    ({ world }) => world.workers.some(({ isAlive, isPaused }) => isAlive && isPaused),
    async (world) => {
      const paused = world.workers.filter(({ isAlive, isPaused }) => isAlive && isPaused);
      const worker = pick(paused, at);
      if (worker !== undefined) await world.resume(worker);
    },
  ),
);

const restore = fc.constant(
  command(
    'restore',
    ({ world }) => world.workers.some(({ isStoreAway }) => isStoreAway),
    async (world) => {
      for (const worker of world.workers) {
        if (worker.isStoreAway) await world.setStoreAway(worker, false);
      }
    },
  ),
);

const terminate = fc.constant(
  command(
    'terminate',
    ({ world, budget }) => budget.terminate > 0 && world.temporal.openRun() !== undefined,
    async (world, { budget }) => {
      budget.terminate -= 1;
      await world.terminate();
    },
  ),
);

const importAnew = fc.constant(
  command(
    'import',
    ({ budget }) => budget.import > 0,
    async (world, { budget }) => {
      budget.import -= 1;
      await world.import();
    },
  ),
);

/** What happens, in any order: the steps and faults of claim_model.py. */
export const claimCommands: fc.Arbitrary<ClaimCommand>[] = [
  ...[strikeAt, strikeAt, strikeAt, strikeAt, strikeAt, strikeAt],
  ...[proceedTo, proceedTo, proceedTo],
  ...[proceed, proceed, proceed, proceed],
  ...[elapse, elapse],
  ...[resume, resume],
  ...[passTime, demand, restore, terminate, importAnew],
];
