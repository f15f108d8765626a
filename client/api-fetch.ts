import type { AccessToken } from './access-token.ts';
import { createClientError, inputError, TokenManagerClientError } from './client-errors.ts';

export type AllowedOrigins = readonly string[] | ((connectionId: string) => readonly string[]);

/** `init` of `fetch`. Authorization is the client's part. */
export type ApiRequestInit = RequestInit & {
  /** Seconds that the token must live on, as for `getToken`. */
  minTtlSeconds?: number;
};

export interface ApiAccess {
  fetch: typeof globalThis.fetch;
  allowedOrigins: AllowedOrigins;
  getToken: (minTtlSeconds: number, signal: AbortSignal | undefined) => Promise<AccessToken>;
  refresh: (rejectedTokenVersion: number, signal?: AbortSignal) => Promise<AccessToken>;
  onRejected: (tokenVersion: number) => void;
}

/** Refusals of a refresh after which the API's own 401 says more: the token may be as good as any. */
const harmlessRefusals: readonly string[] = [
  'refresh_limited',
  'refresh_not_possible',
  'forbidden',
];

/**
 * One request to a provider's API with the connection's token. On 401 the token is refreshed and the request
 * sent once more, if its body can be.
 */
export async function fetchWithToken(
  access: ApiAccess,
  connectionId: string,
  target: string | URL,
  { minTtlSeconds = 0, ...init }: ApiRequestInit,
): Promise<Response> {
  const url = parseTarget(target);
  const headers = new Headers(init.headers);
  if (headers.has('authorization')) {
    throw inputError('init.headers', 'has Authorization, which fetch sets itself');
  }
  const signal = init.signal ?? undefined;
  const named = isNamed(access.allowedOrigins, connectionId, url);
  if (!named && url.protocol !== 'https:') throw notAllowed(connectionId, url);
  const token = await access.getToken(minTtlSeconds, signal);
  if (!named && !isOfInstance(token, url)) throw notAllowed(connectionId, url);

  const send = ({ authorization }: AccessToken): Promise<Response> => {
    const withToken = new Headers(headers);
    withToken.set('authorization', authorization);
    // A redirect to another origin loses the header by the Fetch Standard (HTTP-redirect fetch, step 13).
    return access.fetch(url, { ...init, headers: withToken });
  };

  const answer = await send(token);
  if (answer.status !== 401 || isOfAnotherOrigin(answer, url)) return answer;
  access.onRejected(token.tokenVersion);
  if (!canSendAgain(init.body)) {
    // The next call has the new token; this one cannot be made again. A failure meets the next call too.
    access.refresh(token.tokenVersion).catch(() => undefined);
    return answer;
  }
  let renewed: AccessToken;
  try {
    renewed = await access.refresh(token.tokenVersion, signal);
  } catch (error) {
    const isHarmless =
      error instanceof TokenManagerClientError && harmlessRefusals.includes(error.code);
    if (isHarmless) return answer;
    await answer.body?.cancel();
    throw error;
  }
  // Unread, it would hold its connection.
  await answer.body?.cancel();
  return send(renewed);
}

/** Throws for what can never be an allowed origin, so that a mistake shows when the client is made. */
export function assertOrigins(origins: readonly string[]): void {
  for (const origin of origins) {
    const url = URL.canParse(origin) ? new URL(origin) : undefined;
    if (url?.origin !== origin) {
      throw inputError(
        'allowedOrigins',
        `has "${origin}"; an origin is https://host or https://host:port`,
      );
    }
    if (!isProtected(url)) {
      throw inputError('allowedOrigins', `has "${origin}"; only https, and http of loopback`);
    }
  }
}

function parseTarget(target: string | URL): URL {
  const text = String(target);
  if (!URL.canParse(text)) throw inputError('url', 'is not an absolute URL');
  return new URL(text);
}

function isNamed(allowed: AllowedOrigins, connectionId: string, url: URL): boolean {
  const origins = typeof allowed === 'function' ? allowed(connectionId) : allowed;
  return origins.includes(url.origin) && isProtected(url);
}

function isOfInstance({ metadata }: AccessToken, url: URL): boolean {
  const instanceUrl = metadata['instance_url'];
  return (
    typeof instanceUrl === 'string' &&
    URL.canParse(instanceUrl) &&
    new URL(instanceUrl).origin === url.origin
  );
}

function notAllowed(connectionId: string, { origin }: URL): TokenManagerClientError {
  return createClientError({
    code: 'origin_not_allowed',
    message: `No token is sent to ${origin}: name it in allowedOrigins, or as the connection's metadata.instance_url (https only).`,
    remedy: 'fix_request',
    connectionId,
  });
}

/** http is for loopback, and there only for who names it. */
function isProtected({ protocol, hostname }: URL): boolean {
  if (protocol === 'https:') return true;
  const isLoopback =
    hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d+){3}$/.test(hostname);
  return protocol === 'http:' && isLoopback;
}

/** Where a redirect led elsewhere, without the token, the 401 says nothing of it. */
function isOfAnotherOrigin({ redirected, url }: Response, target: URL): boolean {
  return redirected && URL.canParse(url) && new URL(url).origin !== target.origin;
}

function canSendAgain(body: RequestInit['body']): boolean {
  if (body === undefined || body === null || typeof body === 'string') return true;
  return (
    body instanceof URLSearchParams ||
    body instanceof FormData ||
    body instanceof Blob ||
    body instanceof ArrayBuffer ||
    ArrayBuffer.isView(body)
  );
}
