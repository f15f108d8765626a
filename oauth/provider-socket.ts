import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ClientCertificate } from '../connections/client-certificate.ts';
import type { AdmittedTarget, EgressGuard } from './egress.ts';
import type { NotSent } from './provider-answer.ts';
import { isHostAllowed } from './url-template.ts';

/** One address is given this long before the next is tried beside it (RFC 8305 §5). */
const nextAddressAfterMs = 1_000;

/** Where a connection goes, and what it may take. */
interface ProviderDestination {
  url: URL;
  /** Of the provider's definition; null: any host that egress allows. */
  allowedHosts: string[] | null;
  egress: EgressGuard;
  /** Name server, TCP and TLS together. */
  deadlineMs: number;
  /** Shown where the provider asks for one (RFC 8705 §2). */
  clientCertificate: ClientCertificate | null;
  /** PEM; instead of the system's roots. */
  trustedCertificates?: string;
}

/** Checks where the URL leads and connects there; sends nothing but the handshake of TLS. Never rejects. */
export async function openProviderSocket(
  destination: ProviderDestination,
): Promise<Socket | NotSent> {
  const { url, allowedHosts, egress, deadlineMs } = destination;
  if (allowedHosts !== null && !isHostAllowed(url.hostname, allowedHosts)) {
    return notSent('misconfigured', 'egress_refused');
  }
  return withDeadline(deadlineMs, async (signal) => {
    const admission = await egress.admit(url);
    if (admission.kind === 'refused') return notSent('misconfigured', 'egress_refused');
    if (admission.kind === 'unresolved') return notSent('transient', admission.code);
    return openSocket(admission, destination, signal);
  });
}

/** The deadline covers name server, TCP and TLS; what opens after it is closed again. */
async function withDeadline(
  deadlineMs: number,
  open: (signal: AbortSignal) => Promise<Socket | NotSent>,
): Promise<Socket | NotSent> {
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
  destination: ProviderDestination,
  signal: AbortSignal,
): Promise<Socket | NotSent> {
  if (signal.aborted) return notSent('transient', 'connect_timeout');
  const plain = await openTcp(target, signal);
  if (!target.secure || isNotSent(plain)) return plain;
  return startTls(plain, target.hostname, destination, signal);
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
  { trustedCertificates, clientCertificate }: ProviderDestination,
  signal: AbortSignal,
): Promise<Socket | NotSent> {
  return new Promise((resolve) => {
    const socket = connectTls({
      socket: plain,
      // Compared with the certificate; RFC 6066 §3 keeps addresses out of the server name.
      host: hostname,
      ...(isIP(hostname) === 0 ? { servername: hostname } : {}),
      ...(trustedCertificates === undefined ? {} : { ca: trustedCertificates }),
      ...(clientCertificate === null
        ? {}
        : { cert: clientCertificate.certificate, key: clientCertificate.privateKey.reveal() }),
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
