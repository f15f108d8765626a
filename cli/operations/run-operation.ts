import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '@temporalio/client';
import { TokenManagerError, type InputFault, type ProblemCode } from '../../client/contract.ts';
import { createEventFeed } from '../../connections/event-feed.ts';
import { scopes, type Caller } from '../../gateway/caller.ts';
import { createGateway } from '../../gateway/create-gateway.ts';
import { createProviderDirectory } from '../../oauth/provider-directory.ts';
import { systemClock } from '../../platform/clock.ts';
import { loadConfig } from '../../platform/config.ts';
import { createLogger, type Logger } from '../../platform/log.ts';
import { createMetrics } from '../../platform/metrics.ts';
import { createLazyTemporalConnection } from '../../platform/temporal-connections.ts';
import { createTemporalRefreshEngine } from '../../platform/temporal-refresh-engine.ts';
import { createTemporalRevocationEngine } from '../../platform/temporal-revocation-engine.ts';
import { createIdTracer } from '../../platform/tracer.ts';
import { composeServices, type Services } from '../compose-services.ts';
import { readableError } from '../readable-error.ts';
import type { ProcessSetting } from '../run-process.ts';
import { describeFailure } from './describe-failure.ts';

const msPerHour = 3_600_000;
/** What a command has begun at Temporal, and does not wait for, has so long to arrive there. */
const handoverLimitMs = 6_000;
const closeLimitMs = 1_000;

type Json = Record<string, unknown>;

/** What a command works with. */
export interface Operations {
  /**
   * One request to the service's own interface, answered in this process: the same checks, the same
   * effects, the same audit. Undefined for an answer without a body. Throws the problem.
   */
  call: (method: string, path: string, body?: unknown) => Promise<Json | undefined>;
  services: Services;
  /** Who is in the audit. */
  callerName: string;
  log: Logger;
}

/**
 * Runs a command on the database, the keys and the Temporal of the settings. A failure is a text that
 * says what to do, and exit code 1.
 */
export async function runOperation(
  setting: ProcessSetting,
  operate: (operations: Operations) => Promise<void>,
): Promise<void> {
  try {
    await withOperations(setting, operate);
  } catch (error) {
    console.error(readableError(error));
    process.exitCode = 1;
  }
}

/** What the operation itself fails with is a problem of the service, which knows what to do. */
async function tellFailure(
  operate: (operations: Operations) => Promise<void>,
  operations: Operations,
): Promise<void> {
  try {
    await operate(operations);
  } catch (error) {
    console.error(describeFailure(error));
    process.exitCode = 1;
  }
}

async function withOperations(
  { configFile, build }: ProcessSetting,
  operate: (operations: Operations) => Promise<void>,
): Promise<void> {
  const config = loadConfig(configFile === undefined ? {} : { configFile });
  const log = createLogger({
    subsystem: config.subsystemName,
    level: 'warn',
    pretty: process.stderr.isTTY,
    // Standard output is for what was asked for.
    destination: { write: (line) => process.stderr.write(line) },
  });
  const metrics = createMetrics({ subsystem: config.subsystemName });
  const tracer = createIdTracer();
  const services = await composeServices({ config, log, metrics, tracer });
  const connection = createLazyTemporalConnection(config.temporal);
  const client = () => new Client({ connection, namespace: config.temporal.namespace });
  const begun = new Set<Promise<unknown>>();
  const remember = <Result>(work: Promise<Result>): Promise<Result> => {
    begun.add(work);
    return work;
  };
  try {
    await services.requireDatabase();
    const refreshes = createTemporalRefreshEngine({
      client,
      taskQueue: config.temporal.taskQueues.refresh,
      workflowExecutionTimeoutMs: config.temporal.refresh.workflowExecutionHours * msPerHour,
      requestEagerStart: false,
      tracer,
    });
    const revocations = createTemporalRevocationEngine({
      client,
      taskQueue: config.temporal.taskQueues.sweep,
    });
    const caller = commandLineCaller();
    const { app } = createGateway({
      ...services,
      events: createEventFeed(services.pool),
      providers: createProviderDirectory(services.providers),
      refreshEngine: {
        refresh: (request, signal) => remember(refreshes.refresh(request, signal)),
      },
      revocationEngine: { start: (request) => remember(revocations.start(request)) },
      callers: { identify: () => caller, challenge: () => '' },
      clock: systemClock,
      build,
      readiness: () => ({ status: 'ready', checks: {} }),
      logHttpRequests: false,
    });
    await tellFailure(operate, {
      services,
      log,
      callerName: caller.name,
      async call(method, path, body) {
        const response = await app.request(path, {
          method,
          ...(body !== undefined && {
            headers: { 'Content-Type': 'application/json' },
            body: typeof body === 'string' ? body : JSON.stringify(body),
          }),
        });
        const text = await response.text();
        const json = text === '' ? undefined : (JSON.parse(text) as Json);
        if (response.status >= 400) throw problemOf(json ?? {});
        return json;
      },
    });
    await Promise.race([
      Promise.allSettled(begun),
      sleep(handoverLimitMs, undefined, { ref: false }),
    ]);
  } finally {
    await Promise.race([
      Promise.all([connection.close(), services.close()]),
      sleep(closeLimitMs, undefined, { ref: false }),
    ]);
  }
}

/** Whoever has the database and the keys may do everything. */
function commandLineCaller(): Caller {
  return { name: `cli:${userName()}`, scopes: new Set(scopes), tenants: null };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without a name, as containers have.
    return String(process.getuid?.() ?? 'unknown');
  }
}

/** The problem as the service answered it (RFC 9457), as an error again. */
function problemOf(body: Json): TokenManagerError {
  return new TokenManagerError(body['code'] as ProblemCode, {
    detail: body['detail'] as string,
    ...('reason' in body && { reason: body['reason'] as string }),
    ...('errors' in body && { errors: body['errors'] as InputFault[] }),
    ...('retry_after_seconds' in body && {
      retryAfterSeconds: body['retry_after_seconds'] as number,
    }),
    ...('connection_id' in body && { connectionId: body['connection_id'] as string }),
  });
}
