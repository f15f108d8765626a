import type { Socket } from 'node:net';
import type { Clock } from '../platform/clock.ts';
import type { Secret } from '../platform/secret.ts';
import { createDpopNonces } from './dpop.ts';
import type { EgressGuard } from './egress.ts';
import { exchangeHttp } from './http-exchange.ts';
import { buildIntrospection, readIntrospection, type GrantActivity } from './introspection.ts';
import { notSent, type NotSent, type TokenAnswer } from './provider-answer.ts';
import type { HttpRequest, TokenRequest } from './provider-request.ts';
import { openProviderSocket } from './provider-socket.ts';
import {
  buildRevocation,
  readRevocation,
  type RevocationAnswer,
  type RevocationTokenKind,
} from './revocation.ts';
import { buildTokenRequest } from './token-request.ts';
import { renderUrl } from './url-template.ts';

const defaultConnectDeadlineMs = 5_000;
/** Connecting and answering together. */
const introspectionDeadlineMs = 10_000;
const revocationDeadlineMs = 10_000;
const sideAnswerMaxBytes = 64 * 1_024;
const answerBodyMaxBytes = 1_024 * 1_024;

/** An open connection of its own for one request, made before the claim. */
export interface TokenConnection {
  /**
   * Sends the request, once, and reads the answer. `mayStillSend` is asked right before the first byte,
   * in the same turn of the event loop. Never rejects.
   */
  send(limits: {
    mayStillSend(): boolean;
    /** From now until the answer is complete. */
    deadlineMs: number;
  }): Promise<TokenAnswer>;
  /** Ends the connection; harmless when it is used up. */
  close(): void;
}

export interface TokenEndpoint {
  /**
   * Builds the request, checks where it would go, and opens the connection; sends nothing. The request
   * fills the definition's `refreshUrl`, or else its `tokenUrl`. Never rejects.
   */
  connect(request: TokenRequest): Promise<TokenConnection | NotSent>;
  /**
   * Asks the definition's `introspectUrl` whether a refresh token still lives (RFC 7662), with the client
   * authentication of the request; spends nothing. Without such a URL, or without an answer that says so
   * plainly, `unknown`. Takes 10 s at most. Never rejects.
   */
  introspect(request: TokenRequest, refreshToken: Secret): Promise<GrantActivity>;
  /**
   * Asks the definition's `revokeUrl` to end a token (RFC 7009), with the client authentication of the
   * request. Takes 15 s at most. Never rejects.
   */
  revoke(
    request: TokenRequest,
    revoked: { token: Secret; kind: RevocationTokenKind },
  ): Promise<RevocationAnswer>;
}

/**
 * Client of token endpoints. `connectDeadlineMs` (default 5,000) bounds name server, TCP and TLS
 * together; `trustedCertificates` (PEM) replaces the system's roots.
 */
export function createTokenEndpoint(dependencies: {
  egress: EgressGuard;
  clock: Clock;
  randomUuid: () => string;
  connectDeadlineMs?: number;
  trustedCertificates?: string;
}): TokenEndpoint {
  const { egress, clock, randomUuid, trustedCertificates } = dependencies;
  const connectDeadlineMs = dependencies.connectDeadlineMs ?? defaultConnectDeadlineMs;
  const nonces = createDpopNonces();
  const sources = { wallMs: () => clock.wallMs(), randomUuid };

  function open(url: URL, request: TokenRequest): Promise<Socket | NotSent> {
    return openProviderSocket({
      url,
      allowedHosts: request.definition.allowedHosts,
      egress,
      deadlineMs: connectDeadlineMs,
      clientCertificate: request.clientCertificate,
      ...(trustedCertificates === undefined ? {} : { trustedCertificates }),
    });
  }

  return {
    async connect(request) {
      const { definition, variables } = request;
      const url = renderUrl(definition.refreshUrl ?? definition.tokenUrl, variables);
      if (url === null) return notSent('misconfigured', 'url_incomplete');
      const http = await buildTokenRequest(request, url, sources, nonces.newest(url.origin));
      if (http === null) return notSent('misconfigured', 'request_incomplete');
      const socket = await open(url, request);
      return 'kind' in socket
        ? socket
        : createConnection(socket, url, http, (answer) => {
            nonces.observe(url.origin, answer);
          });
    },

    async introspect(request, refreshToken) {
      const startedAtMs = clock.monotonicMs();
      const { introspectUrl } = request.definition;
      const url = introspectUrl === null ? null : renderUrl(introspectUrl, request.variables);
      const http = url && (await buildIntrospection(request, refreshToken, url, sources));
      if (url === null || http === null) return 'unknown';
      const socket = await open(url, request);
      if ('kind' in socket) return 'unknown';
      const answer = await exchangeHttp({
        socket,
        origin: url.origin,
        http,
        bodyMaxBytes: sideAnswerMaxBytes,
        mayStillSend: () => true,
        deadlineMs: introspectionDeadlineMs - (clock.monotonicMs() - startedAtMs),
      });
      return readIntrospection(answer);
    },

    async revoke(request, revoked) {
      const { revokeUrl } = request.definition;
      const url = revokeUrl === null ? null : renderUrl(revokeUrl, request.variables);
      const now = new Date(clock.wallMs());
      if (url === null) return readRevocation(notSent('misconfigured', 'url_incomplete'), now);
      const http = await buildRevocation(request, revoked, url, sources);
      if (http === null) return readRevocation(notSent('misconfigured', 'request_incomplete'), now);
      const socket = await open(url, request);
      if ('kind' in socket) return readRevocation(socket, now);
      const answer = await exchangeHttp({
        socket,
        origin: url.origin,
        http,
        bodyMaxBytes: sideAnswerMaxBytes,
        mayStillSend: () => true,
        deadlineMs: revocationDeadlineMs,
      });
      return readRevocation(answer, now);
    },
  };
}

function createConnection(
  socket: Socket,
  url: URL,
  http: HttpRequest,
  observe: (answer: TokenAnswer) => void,
): TokenConnection {
  let isUsed = false;
  return {
    async send(limits) {
      if (isUsed) return notSent('transient', 'connection_closed');
      isUsed = true;
      const answer = await exchangeHttp({
        socket,
        origin: url.origin,
        http,
        bodyMaxBytes: answerBodyMaxBytes,
        ...limits,
      });
      observe(answer);
      return answer;
    },
    close() {
      isUsed = true;
      socket.destroy();
    },
  };
}
