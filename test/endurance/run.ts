import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildIfStale } from '../../dev/build.mjs';
import { startCallers } from './callers.ts';
import { describeAction, planChaos } from './chaos-schedule.ts';
import { compileLedger } from './compile-ledger.ts';
import { conductChaos } from './conduct-chaos.ts';
import { mixConnections } from './connection-mix.ts';
import { parseEnduranceOptions, type EnduranceOptions } from './endurance-options.ts';
import { startEnduranceStack } from './endurance-stack.ts';
import { importConnections } from './import-connections.ts';
import { printLedger } from './print-ledger.ts';
import { createTell, minutesAndSeconds, reportProgress } from './progress.ts';
import { startReaper } from './reaper.ts';
import { startCustomers } from './customers.ts';
import { createSeededRandom } from './seeded-random.ts';
import { settleConnections } from './settle-connections.ts';

/*
 * npm run endure: gateways, workers, PostgreSQL, Temporal and an authorization server as processes,
 * which a schedule of faults kills, stops and restarts while callers read tokens; then the ledger.
 */

const callsPerConnectionAndSecond = 0.2;
const callsPerSecondMin = 40;
const settleLimitMs = 60_000;
/** Beyond its length; a run that hangs must not hang whoever waits for it. */
const overtimeMaxMs = 240_000;
const resultsFolder = join(import.meta.dirname, '..', '..', '.token-manager', 'endurance');

/** Returns whether the run passed. */
async function endure(options: EnduranceOptions): Promise<boolean> {
  const { seed, minutes } = options;
  // The clock that the authorization server and PostgreSQL go by too.
  const nowMs = (): number => Date.now();
  const startedAtMs = nowMs();
  const startedAt = new Date().toISOString();
  mkdirSync(resultsFolder, { recursive: true });
  const name = `${startedAt.replaceAll(':', '-').slice(0, 19)}-seed-${seed}`;
  const logFile = join(resultsFolder, `${name}.log`);
  const ledgerFile = join(resultsFolder, `${name}.json`);
  const tell = createTell({ logFile, quiet: options.quiet });

  setTimeout(
    () => {
      tell('The run did not end in time.');
      process.exit(1);
    },
    minutes * 60_000 + overtimeMaxMs,
  ).unref();

  const schedule = planChaos({ seed, lengthMs: minutes * 60_000 });
  const connections = mixConnections(options.connections, createSeededRandom(seed));
  tell(`Endurance run, ${minutes} minutes, ${connections.length} connections, seed ${seed}`);
  for (const action of schedule) tell(describeAction(action));

  await buildIfStale();
  const folder = mkdtempSync(join(tmpdir(), 'token-manager-endurance-'));
  // PostgreSQL runs as another user where this runs as root.
  chmodSync(folder, 0o755);
  const reaper = startReaper(folder);
  const stack = await startEnduranceStack({
    folder,
    seed,
    logFile,
    cliPath: process.env['TEMPORAL_CLI_PATH'],
    reaper,
    nowMs,
  });
  await importConnections({ stack, connections });
  tell(`Started in ${minutesAndSeconds(nowMs() - startedAtMs)}`);

  const callers = startCallers({
    gateways: stack.gateways,
    connections,
    callsPerSecond: Math.max(connections.length * callsPerConnectionAndSecond, callsPerSecondMin),
    random: createSeededRandom(seed + 1),
    nowMs,
  });
  const chaos = conductChaos({
    schedule,
    stack,
    nowMs,
    onStrike: ({ victim, what, durationMs }) =>
      tell(`      ${victim} ${what} for ${(durationMs / 1_000).toFixed(1)} s`),
  });
  const customers = startCustomers({ stack, connections });
  const { provider } = stack;
  const endProgress = reportProgress({ provider, callers, chaos, nowMs, tell });
  const allHealed = chaos.ended.then(() => new Date(nowMs()));
  const [healedAt] = await Promise.all([allHealed, sleep(minutes * 60_000)]);
  await customers.stop();
  const outcomes = await settleConnections({
    connections,
    callers,
    pool: stack.pool,
    healedAt,
    limitMs: settleLimitMs,
  });
  await callers.stop();
  endProgress();
  // What is under way in the background is finished, so that all witnesses tell of the same.
  await stack.endServices();

  const ledger = compileLedger(
    {
      seed,
      minutes,
      startedAt,
      seconds: (nowMs() - startedAtMs) / 1_000,
      faults: chaos.strikes.length,
      reauthorised: customers.count(),
    },
    {
      connections,
      calls: callers.calls,
      journal: await provider.journal(),
      trail: await stack.audit.read(),
      providerLedger: await provider.ledger(),
      lives: [...stack.gateways, ...stack.workers].flatMap(({ lives }) => lives),
      strikes: chaos.strikes,
      postgresAway: stack.postgres.away,
      temporalAway: stack.temporal.away,
    },
    outcomes,
  );
  writeFileSync(ledgerFile, `${JSON.stringify(ledger, null, 2)}\n`);
  const printed = printLedger(ledger);
  createTell({ logFile, quiet: false })(`\n${printed}\n`);
  tell(`Log: ${logFile}\nLedger: ${ledgerFile}`);
  await stack.close();
  await reaper.close();
  return ledger.verdict === 'PASS';
}

// Whatever ends this process, the reaper ends the others.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(1));
}
try {
  const options = parseEnduranceOptions(process.argv.slice(2), () =>
    Math.floor(Math.random() * 1_000_000),
  );
  process.exit((await endure(options)) ? 0 : 1);
} catch (error) {
  process.stderr.write(
    `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  process.exit(1);
}
