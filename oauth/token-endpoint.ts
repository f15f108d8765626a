import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Clock } from '../platform/clock.ts';
import type { Secret } from '../platform/secret.ts';
import type { AdmittedTarget, EgressGuard } from './egress.ts';
import { exchangeHttp } from './http-exchange.ts';
import { buildTokenRequest, type HttpRequest, type TokenRequest } from './token-request.ts';
import { isHostAllowed, renderUrl } from './url-template.ts';

const defaultConnectDeadlineMs = 5_000;
/** One address is given this long before the next is tried beside it (RFC 8305 §5). */
const nextAddressAfterMs = 1_000;

/** Nothing has left this process: the refresh token is not spent. */
export interface NotSent {
  kind: 'not_sent';
  class: 'transient' | 'misconfigured';
  /** A network code such as ECONNREFUSED, or `connect_timeout`, `egress_refused`, `tls_*`, `send_limit` … */
  code: string;
}

export type TokenAnswer =
  | NotSent
  /** Sent, and then no complete answer: the token may be spent. */
  | { kind: 'no_answer'; code: string }
  | {
      kind: 'answer';
      status: number;
      /** Only those that judging needs; lower-case names. */
      headers: Record<string, string>;
      /** At most 1 MiB after decompression. */
      body: Secret;
    };

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
}

/**
 * Client of token endpoints. `connectDeadlineMs` (default 5,000) bounds name server, TCP and TLS
 * together; `trustedCertificates` (PEM) replaces the system's roots.
 */
export function createTokenEndpoint(dependencies: {
  egress: EgressGuard;
  clock: Pick<Clock, 'wallMs'>;
  randomUuid: () => string;
  connectDeadlineMs?: number;
  trustedCertificates?: string;
}): TokenEndpoint {
  const { egress, clock, randomUuid, trustedCertificates } = dependencies;
  const connectDeadlineMs = dependencies.connectDeadlineMs ?? defaultConnectDeadlineMs;

  async function connect(request: TokenRequest): Promise<TokenConnection | NotSent> {
    const { definition, variables } = request;
    const url = renderUrl(definition.refreshUrl ?? definition.tokenUrl, variables);
    if (url === null) return notSent('misconfigured', 'url_incomplete');
    if (definition.allowedHosts !== null && !isHostAllowed(url.hostname, definition.allowedHosts)) {
      return notSent('misconfigured', 'egress_refused');
    }
    const sources = { wallMs: () => clock.wallMs(), randomUuid };
    const http = await buildTokenRequest(request, url, sources);
    if (http === null) return notSent('misconfigured', 'request_incomplete');

    return withDeadline(connectDeadlineMs, async (signal) => {
      const admission = await egress.admit(url);
      if (admission.kind === 'refused') return notSent('misconfigured', 'egress_refused');
      if (admission.kind === 'unresolved') return notSent('transient', admission.code);
      const opened = await openSocket(admission, trustedCertificates, signal);
      if (isNotSent(opened)) return opened;
      return createConnection(opened, url, http);
    });
  }

  return { connect };
}

function createConnection(socket: Socket, url: URL, http: HttpRequest): TokenConnection {
  let isUsed = false;
  return {
    async send(limits) {
      if (isUsed) return notSent('transient', 'connection_closed');
      isUsed = true;
      return exchangeHttp({ socket, origin: url.origin, http, ...limits });
    },
    close() {
      isUsed = true;
      socket.destroy();
    },
  };
}

/** The deadline covers name server, TCP and TLS; what opens after it is closed again. */
async function withDeadline(
  deadlineMs: number,
  open: (signal: AbortSignal) => Promise<TokenConnection | NotSent>,
): Promise<TokenConnection | NotSent> {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<NotSent>((resolve) => {
    timer = setTimeout(() => {
      resolve(notSent('transient', 'connect_timeout'));
      abort.abort();
    }, deadlineMs);
  });
  try {
    return await Promise.race([open(abort.signal), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

async function openSocket(
  target: AdmittedTarget,
  trustedCertificates: string | undefined,
  signal: AbortSignal,
): Promise<Socket | NotSent> {
  if (signal.aborted) return notSent('transient', 'connect_timeout');
  const plain = await openTcp(target, signal);
  if (!target.secure || isNotSent(plain)) return plain;
  return startTls(plain, target.hostname, trustedCertificates, signal);
}

/** Connects to one of the admitted addresses; the name is not looked up again. */
function openTcp(target: AdmittedTarget, signal: AbortSignal): Promise<Socket | NotSent> {
  const addresses = target.addresses.map((address) => ({ address, family: isIP(address) }));
  return new Promise((resolve) => {
    const socket = connectTcp({
      host: target.hostname,
      port: target.port,
      noDelay: true,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: nextAddressAfterMs,
      // What egress has checked: a name that meanwhile resolves elsewhere leads nowhere new.
      lookup: (_hostname, _options, done) => {
        done(null, addresses);
      },
    });
    const abort = (): void => {
      socket.destroy();
    };
    signal.addEventListener('abort', abort, { once: true });
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort);
      resolve(socket);
    });
    // Stays: until somebody else listens, an error that nobody hears would end the process.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      resolve(notSent('transient', error.code ?? 'connect_failed'));
    });
    socket.once('close', () => {
      resolve(notSent('transient', 'connection_closed'));
    });
  });
}

/** A certificate that does not verify is somebody's mistake; any other broken handshake may pass. */
function startTls(
  plain: Socket,
  hostname: string,
  trustedCertificates: string | undefined,
  signal: AbortSignal,
): Promise<Socket | NotSent> {
  return new Promise((resolve) => {
    const socket = connectTls({
      socket: plain,
      // Compared with the certificate; RFC 6066 §3 keeps addresses out of the server name.
      host: hostname,
      ...(isIP(hostname) === 0 ? { servername: hostname } : {}),
      ...(trustedCertificates === undefined ? {} : { ca: trustedCertificates }),
      ALPNProtocols: ['http/1.1'],
    });
    const abort = (): void => {
      socket.destroy();
    };
    signal.addEventListener('abort', abort, { once: true });
    socket.once('secureConnect', () => {
      signal.removeEventListener('abort', abort);
      resolve(socket);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // Node types it as an Error; it is the code of the failed verification, if that was it.
      const verification = socket.authorizationError as unknown;
      const isCertificate = verification !== null && verification !== undefined;
      const code = `tls_${(error.code ?? 'handshake').toLowerCase()}`;
      resolve(notSent(isCertificate ? 'misconfigured' : 'transient', code));
    });
    socket.once('close', () => {
      resolve(notSent('transient', 'tls_closed'));
    });
  });
}

function isNotSent(value: Socket | NotSent): value is NotSent {
  return 'kind' in value;
}

function notSent(failureClass: NotSent['class'], code: string): NotSent {
  return { kind: 'not_sent', class: failureClass, code };
}
