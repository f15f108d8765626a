import { setMaxListeners } from 'node:events';
import { AccessToken } from './access-token.ts';
import { fetchWithToken, type ApiRequestInit } from './api-fetch.ts';
import { askGateway, notify, type GatewayAccess, type TokenQuestion } from './ask-gateway.ts';
import {
  assertConnectionId,
  createClientError,
  inputError,
  TokenManagerClientError,
} from './client-errors.ts';
import type { ClientHooks } from './client-hooks.ts';
import {
  readOptions,
  type ClientSurroundings,
  type TokenManagerClientOptions,
} from './client-options.ts';
import { GatewayGate } from './gateway-gate.ts';
import { RetryBudget } from './retry-budget.ts';
import { SharedFlights, waitFor } from './shared-flights.ts';
import { TokenWindow } from './token-window.ts';

export type { AllowedOrigins, ApiRequestInit } from './api-fetch.ts';
export type { ClientErrorCode } from './client-errors.ts';
export {
  AppMisconfiguredError,
  CallerRefusedError,
  ConnectionNotFoundError,
  ConnectionPausedError,
  InvalidRequestError,
  ReauthorizationRequiredError,
  TemporarilyUnavailableError,
  TokenManagerClientError,
} from './client-errors.ts';
export type { ClientHooks } from './client-hooks.ts';
export type { TokenManagerClientOptions } from './client-options.ts';
export type { ConnectionStatus, InputFault, ProblemCode, Remedy } from './contract.ts';
export type { TlsFiles } from './tls-files.ts';
export type { AccessToken };

export interface GetTokenOptions {
  /**
   * 0 (default) to 86400: seconds that the token must live on. The service refreshes for that, and lowers it to
   * 80 % of the lifetime that the provider gives.
   */
  minTtlSeconds?: number;
  /** Ends this call's wait and no other's; the call throws the signal's reason. */
  signal?: AbortSignal;
}

export interface RefreshOptions {
  /** The version that the resource server refused: refresh only if there is no newer one. */
  rejectedTokenVersion?: number;
  /** A token newer than the one current when the call arrives. Callers at the same time share one refresh. */
  force?: boolean;
  /** As in `getToken`. */
  minTtlSeconds?: number;
  /** As in `getToken`. */
  signal?: AbortSignal;
}

/** So long a caller with a token that is still valid waits for a newer one. */
const patienceMs = 1_000;
const maxMinTtlSeconds = 86_400;

/**
 * Asks a token manager for access tokens. One instance for a process: it holds tokens for a short while,
 * shares questions between callers and keeps connections alive.
 *
 * @example
 * const tokens = new TokenManagerClient({
 *   baseUrl: 'https://tokens.internal:8080',
 *   tls: { caFile: 'ca.pem', certFile: 'client.pem', keyFile: 'client.key' },
 *   allowedOrigins: ['https://api.hubapi.com'],
 * });
 * const contacts = await tokens.fetch('acme-hubspot', 'https://api.hubapi.com/crm/v3/objects/contacts');
 */
export class TokenManagerClient {
  readonly #access: GatewayAccess;
  readonly #options: ReturnType<typeof readOptions>;
  readonly #hooks: ClientHooks;
  readonly #window: TokenWindow;
  readonly #flights: SharedFlights<AccessToken>;
  readonly #closing = new AbortController();

  /**
   * Throws `input_validation` for options that cannot be meant. Connects to nothing and reads no file yet.
   */
  constructor(options: TokenManagerClientOptions, surroundings?: Partial<ClientSurroundings>) {
    this.#options = readOptions(options, surroundings);
    const { baseUrl, send, key, deadlineMs, waitSeconds, hooks, nowMs, random } = this.#options;
    const { cacheSeconds, maxConnections } = this.#options;
    const freshMs = cacheSeconds * 1_000;
    this.#hooks = hooks;
    // One listener a request under way, however many those are.
    setMaxListeners(0, this.#closing.signal);
    this.#window = new TokenWindow({ maxEntries: maxConnections, freshMs, nowMs, random });
    this.#flights = new SharedFlights({ patienceMs, holdMs: (error) => shareFor(error, freshMs) });
    this.#access = {
      baseUrl,
      send,
      key,
      deadlineMs,
      waitSeconds,
      hooks,
      nowMs,
      random,
      budget: new RetryBudget(),
      gate: new GatewayGate({
        nowMs,
        random,
        onChange: (isAway) => notify(() => hooks.onGatewayAway?.(isAway)),
      }),
      closed: this.#closing.signal,
    };
  }

  /**
   * The connection's access token, refreshed first if it has expired. Callers who ask for the same share one
   * question. Within `cacheSeconds` it comes from memory; after that the service is asked, and if that does
   * not answer within a second, or is in trouble, the token at hand is handed out while it is valid.
   *
   * Throws `ReauthorizationRequiredError`, `ConnectionNotFoundError`, `ConnectionPausedError`,
   * `AppMisconfiguredError`, `CallerRefusedError`, `InvalidRequestError`, or after the deadline
   * `TemporarilyUnavailableError`; all are `TokenManagerClientError`s.
   */
  async getToken(connectionId: string, options: GetTokenOptions = {}): Promise<AccessToken> {
    const { minTtlSeconds = 0, signal } = options;
    const beganAtMs = this.#access.nowMs();
    this.#assertUsable(connectionId, minTtlSeconds);
    signal?.throwIfAborted();
    const fresh = this.#window.fresh(connectionId, minTtlSeconds);
    if (fresh !== undefined) return this.#handOut(fresh, 'window', beganAtMs);

    const flight = this.#flights.join(`read ${minTtlSeconds} ${connectionId}`, (onTrouble) =>
      this.#read(connectionId, minTtlSeconds, onTrouble),
    );
    const source = flight.joined ? 'joined' : 'gateway';
    const held = this.#window.held(connectionId, minTtlSeconds);
    if (held !== undefined) {
      const answer = flight.promise.catch(() => undefined);
      const token = await waitFor(Promise.race([answer, flight.troubled]), signal);
      if (token instanceof AccessToken) return this.#handOut(token, source, beganAtMs);
      // A verdict has let go of it, and is thrown below.
      const stillHeld = this.#window.held(connectionId, minTtlSeconds);
      if (stillHeld !== undefined) return this.#handOut(stillHeld, 'held', beganAtMs);
    }
    return this.#handOut(await waitFor(flight.promise, signal), source, beganAtMs);
  }

  /**
   * A token that satisfies the options; without any: refresh if due. With `rejectedTokenVersion` a newer
   * token at hand is the answer, and all who name the same version share one refresh, so a herd of 401s
   * costs one question. May be repeated; `force` asks for one more refresh each time, six a minute at most.
   *
   * Throws as `getToken`, and `TokenManagerClientError` with `refresh_not_possible` where there is no refresh
   * token, or `TemporarilyUnavailableError` with `refresh_limited`.
   */
  async refresh(connectionId: string, options: RefreshOptions = {}): Promise<AccessToken> {
    const { rejectedTokenVersion, force = false, minTtlSeconds = 0, signal } = options;
    const beganAtMs = this.#access.nowMs();
    this.#assertUsable(connectionId, minTtlSeconds);
    signal?.throwIfAborted();
    if (rejectedTokenVersion !== undefined) {
      assertVersion(rejectedTokenVersion);
      const held = force ? undefined : this.#window.held(connectionId, minTtlSeconds);
      if (held !== undefined && held.tokenVersion > rejectedTokenVersion) {
        return this.#handOut(held, 'window', beganAtMs);
      }
      this.#window.drop(connectionId, rejectedTokenVersion);
    }
    const body = {
      ...(rejectedTokenVersion !== undefined && { rejected_token_version: rejectedTokenVersion }),
      ...(force && { force }),
      ...(minTtlSeconds > 0 && { min_ttl_seconds: minTtlSeconds }),
    };
    const flight = this.#flights.join(`${JSON.stringify(body)} ${connectionId}`, (onTrouble) =>
      this.#ask(
        { connectionId, route: 'refresh', body, mayRepeat: !force },
        minTtlSeconds,
        onTrouble,
      ),
    );
    const token = await waitFor(flight.promise, signal);
    return this.#handOut(token, flight.joined ? 'joined' : 'gateway', beganAtMs);
  }

  /**
   * `fetch` with the connection's token as Authorization, to `allowedOrigins` and the origin of the
   * connection's `metadata.instance_url` only. A 401 refreshes the token and sends the request once more, if
   * its body can be sent again (no stream). A redirect to another origin goes without the token.
   *
   * Answers whatever the API answers; a 401 too, if the new token is refused as well or none may be had for
   * it (`refresh_limited`, `refresh_not_possible`, `forbidden`). Throws as `getToken`, `InvalidRequestError` with
   * `origin_not_allowed`, and what `fetch` itself throws.
   */
  async fetch(
    connectionId: string,
    url: string | URL,
    init: ApiRequestInit = {},
  ): Promise<Response> {
    const { apiFetch, allowedOrigins } = this.#options;
    return fetchWithToken(
      {
        fetch: apiFetch,
        allowedOrigins,
        getToken: (minTtlSeconds, signal) =>
          this.getToken(connectionId, { minTtlSeconds, ...(signal && { signal }) }),
        refresh: (rejectedTokenVersion, signal) =>
          this.refresh(connectionId, { rejectedTokenVersion, ...(signal && { signal }) }),
        onRejected: (tokenVersion) =>
          notify(() => this.#hooks.onTokenRejected?.({ connectionId, tokenVersion })),
      },
      connectionId,
      url,
      init,
    );
  }

  /** Closes connections and forgets tokens. Calls under way and later ones throw `client_closed`. */
  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(
      createClientError({ code: 'client_closed', message: 'close() was called.' }),
    );
    this.#window.clear();
    this.#options.closeTransport();
  }

  /** Asks for the token; a failure lets the one at hand count as fresh for a while, or go. */
  async #read(
    connectionId: string,
    minTtlSeconds: number,
    onTrouble: () => void,
  ): Promise<AccessToken> {
    const newestVersion = this.#window.newestVersion(connectionId);
    const query = {
      ...(minTtlSeconds > 0 && { min_ttl_seconds: minTtlSeconds }),
      // Another replica of the service may trail by seconds.
      ...(newestVersion !== undefined && { min_token_version: newestVersion }),
    };
    try {
      return await this.#ask(
        { connectionId, route: 'token', query, mayRepeat: true },
        minTtlSeconds,
        onTrouble,
      );
    } catch (error) {
      if (isVerdict(error)) this.#window.drop(connectionId);
      else this.#window.putOff(connectionId);
      throw error;
    }
  }

  async #ask(
    question: TokenQuestion,
    minTtlSeconds: number,
    onTrouble: () => void,
  ): Promise<AccessToken> {
    const token = await askGateway(this.#access, question, onTrouble);
    const kept = this.#window.keep(token, minTtlSeconds);
    if (kept !== undefined) return kept;
    throw createClientError({
      code: 'answer_outdated',
      message: `Version ${token.tokenVersion} is older than one handed out before.`,
      retryable: true,
      remedy: 'retry',
      connectionId: question.connectionId,
    });
  }

  #handOut(
    token: AccessToken,
    source: 'window' | 'gateway' | 'joined' | 'held',
    beganAtMs: number,
  ): AccessToken {
    const { connectionId } = token;
    const durationMs = this.#access.nowMs() - beganAtMs;
    notify(() => this.#hooks.onToken?.({ connectionId, source, durationMs }));
    return token;
  }

  #assertUsable(connectionId: string, minTtlSeconds: number): void {
    this.#closing.signal.throwIfAborted();
    assertConnectionId(connectionId);
    if (
      Number.isInteger(minTtlSeconds) &&
      minTtlSeconds >= 0 &&
      minTtlSeconds <= maxMinTtlSeconds
    ) {
      return;
    }
    throw inputError('minTtlSeconds', `is not a whole number from 0 to ${maxMinTtlSeconds}`);
  }
}

/** What the service says of the connection or the caller, as against trouble in asking or refreshing. */
function isVerdict(error: unknown): boolean {
  if (!(error instanceof TokenManagerClientError) || error.retryable) return false;
  const { status = 0, code } = error;
  return status >= 400 && status < 500 && !code.startsWith('http_');
}

/** A failure that names a time is shared until then, though no longer than a token would be. */
function shareFor(error: unknown, limitMs: number): number {
  if (!(error instanceof TokenManagerClientError) || !error.retryable) return 0;
  return Math.min((error.retryAfterSeconds ?? 0) * 1_000, limitMs);
}

function assertVersion(version: number): void {
  if (Number.isSafeInteger(version) && version >= 0) return;
  throw inputError('rejectedTokenVersion', 'is not the token_version of a token');
}
