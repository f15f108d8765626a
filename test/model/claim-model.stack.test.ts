import { createSecretKey, randomBytes, randomInt } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, it, vi } from 'vitest';
import { createAppRegistry } from '../../connections/app-registry.ts';
import type { AppRegistry } from '../../connections/registry.ts';
import type { RotationClass } from '../../connections/connection.ts';
import type { TokenVault } from '../../connections/token-vault.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { Secret } from '../../platform/secret.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';
import { createKeyProviders } from '../../vault/key-provider.ts';
import { createVault } from '../../vault/create-vault.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import type { FamilyRotation } from '../support/token-family.ts';
import { ClaimWorld, type ModelFixture } from './claim-world.ts';
import { claimCommands, type FaultBudget } from './commands.ts';
import { installModelClock, openModelSession, type ModelSession } from './model-database.ts';

vi.mock('@temporalio/workflow', async (importOriginal) => ({
  ...(await importOriginal<object>()),
  ...(await import('./simulated-temporal.ts')).simulatedWorkflowApi,
}));
vi.mock('node:timers/promises', async (importOriginal) => ({
  ...(await importOriginal<object>()),
  setTimeout: (await import('./simulation.ts')).simulatedSleep,
}));

/** What runs where nobody says otherwise, so that a change is judged by the same runs as the one before. */
const usualSeed = 127_319_969;
/** `random` explores; a number runs one counterexample again, with what else the failure named. */
const askedSeed = process.env['MODEL_SEED'] ?? usualSeed;
const seed = askedSeed === 'random' ? randomInt(2 ** 31) : Number(askedSeed);
const path = process.env['MODEL_PATH'];
const replayPath = process.env['MODEL_REPLAY_PATH'];
const runsShare = Number(process.env['MODEL_RUNS'] ?? 2_000) / 2_000;
const commandsMax = 40;
const timeoutMs = 300_000;

const faults: FaultBudget = {
  kill: 2,
  pause: 3,
  drop: 2,
  statement: 3,
  outage: 2,
  terminate: 2,
  import: 1,
};
/** What leaves nothing ambiguous: all must end well. */
const harmless: FaultBudget = { ...faults, kill: 0, pause: 0, drop: 0 };

interface Scenario {
  name: string;
  declared: RotationClass;
  rotation: FamilyRotation;
  budget: FaultBudget;
  runs: number;
}

const scenarios: Scenario[] = [
  { name: 'F, no process stops', declared: 'F', rotation: 'F', budget: harmless, runs: 400 },
  { name: 'F', declared: 'F', rotation: 'F', budget: faults, runs: 500 },
  { name: 'L', declared: 'L', rotation: 'L', budget: faults, runs: 300 },
  { name: 'C', declared: 'C', rotation: 'C', budget: faults, runs: 400 },
  // A provider whose spent token merely fails.
  { name: 'X', declared: 'X', rotation: 'T', budget: faults, runs: 300 },
  {
    name: 'L by its definition, T in truth',
    declared: 'L',
    rotation: 'T',
    budget: faults,
    runs: 400,
  },
];

let database: TestDatabase;
let vault: TokenVault;
let apps: AppRegistry;
const sessions: ModelSession[] = [];
const providers = createProviderCatalogue({ builtIn: loadBuiltInProviders() });

beforeAll(async () => {
  process.stderr.write(`the model's seed: MODEL_SEED=${seed}\n`);
  database = await createTestDatabase();
  await installModelClock(database);
  const ignored = { inc: () => undefined };
  vault = createVault({
    pool: database.pool,
    keyProviders: createKeyProviders(createLocalKeyProvider(createSecretKey(randomBytes(32)))),
    // Data keys stay in memory for ever, so that only the steps of the model ask the database.
    clock: { monotonicMs: () => 0, wallMs: () => 0 },
    metrics: { dataKeyOperations: ignored, unsealFailures: ignored },
    log: { warn: () => undefined },
  });
  apps = createAppRegistry({ store: database.pool, vault, providers });
});
afterAll(async () => {
  for (const session of sessions) await session.end();
  await database.drop();
});

async function openFixture({ declared, rotation }: Scenario): Promise<ModelFixture> {
  const appId = `app-${declared}-${rotation}`;
  await apps.put(appId, {
    provider: 'generic',
    clientId: 'client',
    clientSecrets: [new Secret('client-secret')],
    overrides: { token_url: 'https://provider.example/token', rotation: { class: declared } },
  });
  const session = await openModelSession(database);
  sessions.push(session);
  return { session, vault, apps, providers, appId, declared, rotation };
}

describe('claim, send, keep and settle, in any order and with any fault', () => {
  it.concurrent.each(scenarios)(
    'keeps its conditions with a provider of class $name',
    // Again with the same seed: a counterexample repeats, what a busy machine did to a run does not.
    { timeout: timeoutMs, retry: 1 },
    async (scenario) => {
      const fixture = await openFixture(scenario);
      const options = {
        maxCommands: commandsMax,
        size: 'max' as const,
        ...(replayPath === undefined ? {} : { replayPath }),
      };
      await fc.assert(
        fc.asyncProperty(fc.commands(claimCommands, options), async (commands) => {
          const world = await ClaimWorld.create(fixture);
          try {
            await fc.asyncModelRun(
              () => ({ model: { world, budget: { ...scenario.budget } }, real: world }),
              commands,
            );
            await world.finish();
          } finally {
            await world.close();
          }
        }),
        {
          seed,
          numRuns: Math.ceil(scenario.runs * runsShare),
          ...(path === undefined ? {} : { path }),
        },
      );
    },
  );
});
