import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { createClientError } from './client-errors.ts';
import { createNodeTransport, type NodeTransport } from './gateway-transport.ts';

/** Paths of PEM files. They are looked at again every 2 s while requests are made. */
export interface TlsFiles {
  /** Authorities that the service's certificate must chain to. Default: those of Node. */
  caFile?: string;
  /** The client's certificate and its chain, for mutual TLS; needs `keyFile`. */
  certFile?: string;
  /** Its private key, not encrypted. */
  keyFile?: string;
  /** The name that the service's certificate must have. Default: the host of `baseUrl`. */
  serverName?: string;
}

const lookEveryMs = 2_000;

interface Loaded {
  ca?: string;
  cert?: string;
  key?: string;
}

/**
 * A transport with the certificates of files, replaced when their contents change. New requests use new
 * connections then; those under way end on the old ones. Files that are broken, or only half replaced,
 * change nothing: `onReload` hears of them, and they are looked at again. At the start they throw
 * `tls_files_unusable`.
 */
export function createTlsTransport(
  files: TlsFiles,
  { nowMs, onReload }: { nowMs: () => number; onReload: (error: Error | undefined) => void },
): Pick<NodeTransport, 'send' | 'close'> {
  let transport: NodeTransport | undefined;
  let seen = '';
  let lookedAtMs = -Infinity;
  let look: Promise<void> | undefined;
  let isClosed = false;

  async function reload(): Promise<void> {
    let loaded: Loaded;
    try {
      loaded = await load(files);
      const contents = JSON.stringify(loaded);
      if (contents === seen) return;
      // Fails where key and certificate do not belong together, which a pool would only do later.
      createSecureContext(loaded);
      seen = contents;
    } catch (error) {
      const unusable = createClientError({
        code: 'tls_files_unusable',
        message: `${Object.values(files).join(', ')}: ${(error as Error).message}`,
        cause: error,
      });
      if (transport === undefined) throw unusable;
      onReload(unusable);
      return;
    }
    const previous = transport;
    if (isClosed) return;
    transport = createNodeTransport('https:', {
      ...loaded,
      ...(files.serverName !== undefined && { servername: files.serverName }),
    });
    if (previous === undefined) return;
    previous.retire();
    onReload(undefined);
  }

  async function current(): Promise<NodeTransport> {
    if (transport === undefined || nowMs() - lookedAtMs >= lookEveryMs) {
      lookedAtMs = nowMs();
      look ??= reload().finally(() => (look = undefined));
    }
    await look;
    if (transport === undefined) throw new Error('closed');
    return transport;
  }

  return {
    send: async (request) => (await current()).send(request),
    close() {
      isClosed = true;
      transport?.close();
    },
  };
}

async function load({ caFile, certFile, keyFile }: TlsFiles): Promise<Loaded> {
  const read = (path: string | undefined) =>
    path === undefined ? undefined : readFile(path, 'utf8');
  const [ca, cert, key] = await Promise.all([read(caFile), read(certFile), read(keyFile)]);
  return {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
}
