import type { EgressGuard } from './egress.ts';
import { exchangeHttp } from './http-exchange.ts';
import { openProviderSocket } from './provider-socket.ts';
import type { TokenAnswer } from './provider-answer.ts';

const answerBodyMaxBytes = 64 * 1_024;

/** One POST of what is no token request. */
interface PostRequest {
  url: string;
  headers: Record<string, string>;
  body: string;
  /** Name server, TCP and TLS. */
  connectDeadlineMs: number;
  /** From then until the answer is complete. */
  answerDeadlineMs: number;
}

/** Goes only where the egress guard lets it, on a connection of its own; follows no redirect. Never rejects. */
export type GuardedPost = (request: PostRequest) => Promise<TokenAnswer>;

/** `trustedCertificates` (PEM) replaces the system's roots. */
export function createGuardedPost(dependencies: {
  egress: EgressGuard;
  trustedCertificates?: string;
}): GuardedPost {
  const { egress, trustedCertificates } = dependencies;
  return async ({ url: text, headers, body, connectDeadlineMs, answerDeadlineMs }) => {
    const url = new URL(text);
    const socket = await openProviderSocket({
      url,
      allowedHosts: null,
      egress,
      deadlineMs: connectDeadlineMs,
      clientCertificate: null,
      ...(trustedCertificates !== undefined && { trustedCertificates }),
    });
    if ('kind' in socket) return socket;
    return exchangeHttp({
      socket,
      origin: url.origin,
      http: { method: 'POST', path: `${url.pathname}${url.search}`, headers, body },
      bodyMaxBytes: answerBodyMaxBytes,
      mayStillSend: () => true,
      deadlineMs: answerDeadlineMs,
    });
  };
}
