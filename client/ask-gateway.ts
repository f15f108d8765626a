import { setTimeout as sleep } from 'node:timers/promises';
import { parseAccessToken, type AccessToken } from './access-token.ts';
import { createClientError, parseProblem, TokenManagerClientError } from './client-errors.ts';
import type { ClientHooks } from './client-hooks.ts';
import type { GatewayGate } from './gateway-gate.ts';
import { UnansweredError, type GatewayAnswer, type SendToGateway } from './gateway-transport.ts';
import type { RetryBudget } from './retry-budget.ts';

/** What is asked of a token route. */
export interface TokenQuestion {
  connectionId: string;
  route: 'token' | 'refresh';
  query?: Record<string, number>;
  body?: Record<string, number | boolean>;
  /** False: a second one would ask for more than the first. */
  mayRepeat: boolean;
}

export interface GatewayAccess {
  baseUrl: URL;
  send: SendToGateway;
  key: (() => string | Promise<string>) | undefined;
  deadlineMs: number;
  waitSeconds: number;
  gate: GatewayGate;
  budget: RetryBudget;
  hooks: ClientHooks;
  closed: AbortSignal;
  nowMs: () => number;
  random: () => number;
}

const firstBackOffMs = 200;
const maxBackOffMs = 5_000;
/** On top of the time that the service may wait: for the way there and back. */
const answerGraceMs = 5_000;

/**
 * Asks until there is a token, a problem that no repetition mends, or the deadline. Between attempts it waits
 * as long as the answer says (Retry-After), and a random part of a pause that doubles. `onTrouble` hears of
 * the first failure. Throws `TokenManagerClientError`, the newest failure.
 */
export async function askGateway(
  access: GatewayAccess,
  question: TokenQuestion,
  onTrouble: () => void,
): Promise<AccessToken> {
  const { gate, budget, hooks, closed, nowMs, random } = access;
  const endsAtMs = nowMs() + access.deadlineMs;
  let failure: TokenManagerClientError | undefined;

  for (let attempt = 1; ; attempt += 1) {
    if (gate.isClosed) onTrouble();
    const mayPass = await gate.pass(endsAtMs, closed);
    closed.throwIfAborted();
    if (!mayPass) throw failure ?? unreachable(question, new Error('The gateway is away.'));

    const outcome = await attemptOnce(access, question, { attempt, endsAtMs });
    if (!(outcome instanceof TokenManagerClientError)) return outcome;
    failure = outcome;
    if (!failure.retryable || (!question.mayRepeat && mayHaveBegun(failure))) throw failure;
    onTrouble();

    const backOffMs = Math.min(firstBackOffMs * 2 ** (attempt - 1), maxBackOffMs) * random();
    const delayMs = (failure.retryAfterSeconds ?? 0) * 1_000 + backOffMs;
    if (nowMs() + delayMs >= endsAtMs) throw failure;
    // Behind a closed gate nothing is multiplied: it lets one through at a time, until one is answered.
    if (!gate.isClosed && !budget.take()) throw failure;
    notify(() =>
      hooks.onRetry?.({ route: question.route, code: failure?.code ?? '', attempt, delayMs }),
    );
    await sleep(delayMs, undefined, { signal: closed }).catch(() => undefined);
  }
}

async function attemptOnce(
  access: GatewayAccess,
  question: TokenQuestion,
  { attempt, endsAtMs }: { attempt: number; endsAtMs: number },
): Promise<AccessToken | TokenManagerClientError> {
  const { gate, budget, hooks, nowMs } = access;
  const sentAtMs = nowMs();
  const leftMs = Math.max(endsAtMs - sentAtMs, 1);
  const waitSeconds = Math.min(access.waitSeconds, Math.floor(leftMs / 1_000));
  const timeoutMs = Math.min(waitSeconds * 1_000 + answerGraceMs, leftMs);
  let result: AccessToken | TokenManagerClientError;
  let status: number | undefined;
  try {
    const answer = await sendQuestion(access, question, { waitSeconds, timeoutMs });
    status = answer.status;
    result = read(answer, question.connectionId, { sentAtMs, nowMs });
    if (isOfTheGateway(result)) gate.answered();
    else gate.failed(sentAtMs);
  } catch (error) {
    access.closed.throwIfAborted();
    if (!(error instanceof UnansweredError)) {
      // The caller's `key`, or the TLS files: that says nothing of the gateway.
      gate.abandoned();
      throw error;
    }
    gate.failed(sentAtMs);
    result = unreachable(question, error);
  }
  const failure = result instanceof TokenManagerClientError ? result : undefined;
  if (failure === undefined) budget.deposit();
  notify(() =>
    hooks.onRequest?.({
      route: question.route,
      status,
      code: failure?.code,
      attempt,
      durationMs: nowMs() - sentAtMs,
    }),
  );
  return result;
}

async function sendQuestion(
  { baseUrl, key, send, closed }: GatewayAccess,
  { connectionId, route, query, body }: TokenQuestion,
  { waitSeconds, timeoutMs }: { waitSeconds: number; timeoutMs: number },
): Promise<GatewayAnswer> {
  const path = `v1/connections/${encodeURIComponent(connectionId)}/token`;
  const url = new URL(route === 'token' ? path : `${path}/refresh`, baseUrl);
  const headers: Record<string, string> = { accept: 'application/json' };
  if (key !== undefined) headers['authorization'] = `Bearer ${await key()}`;
  if (route === 'token') {
    for (const [name, value] of Object.entries({ ...query, wait_seconds: waitSeconds })) {
      url.searchParams.set(name, String(value));
    }
    return send({ method: 'GET', url, headers, timeoutMs, signal: closed });
  }
  headers['content-type'] = 'application/json';
  const text = JSON.stringify({ ...body, wait_seconds: waitSeconds });
  return send({ method: 'POST', url, headers, body: text, timeoutMs, signal: closed });
}

function read(
  answer: GatewayAnswer,
  connectionId: string,
  clock: { sentAtMs: number; nowMs: () => number },
): AccessToken | TokenManagerClientError {
  if (answer.status !== 200) return parseProblem(answer, connectionId);
  try {
    return parseAccessToken(answer.text, { connectionId, ...clock });
  } catch (error) {
    return error as TokenManagerClientError;
  }
}

/** A proxy that cannot reach the gateway, or a gateway at its limit, is as good as no answer. */
function isOfTheGateway(result: AccessToken | TokenManagerClientError): boolean {
  if (!(result instanceof TokenManagerClientError)) return true;
  return !['http_502', 'http_503', 'http_504', 'overloaded'].includes(result.code);
}

function unreachable({ connectionId }: TokenQuestion, cause: Error): TokenManagerClientError {
  return createClientError({
    code: 'gateway_unreachable',
    message: cause.message,
    retryable: true,
    remedy: 'retry',
    connectionId,
    cause,
  });
}

/** Whether the service may have begun what was asked of it. */
function mayHaveBegun({ code, cause }: TokenManagerClientError): boolean {
  if (code === 'overloaded' || code === 'refresh_limited') return false;
  return !(cause instanceof UnansweredError) || cause.mayHaveArrived;
}

/** Somebody's hook that throws is no reason for a call to fail. */
export function notify(tell: () => void): void {
  try {
    tell();
  } catch {
    // Its author has no other caller who could hear of it.
  }
}
