import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { findFreePort } from '../../dev/ports.ts';
import { startFaultProxy, type FaultProxy } from './fault-proxy.ts';
import {
  classLabel,
  createRotationFamilies,
  parseClassLabel,
  type RotationLedger,
} from './rotation-families.ts';
import { createFaultChooser, faultSettingsSchema, type FaultSettings } from './rotation-faults.ts';
import {
  createRotationProvider,
  type IssuedGrant,
  type RotationClient,
} from './rotation-provider.ts';

const defaultAccessTokenTtlSeconds = 60;
const clientSecret = 'rotation-secret';

/** One client a class, whose id is the class, and clients whom introspection answers. */
export const rotationClients: RotationClient[] = [
  ...['S', 'L', 'T(30)', 'C', 'X', 'F'].map((label) => clientOf(label, false)),
  ...['T(30)', 'X', 'F'].map((label) => clientOf(label, true)),
];

const grantSchema = z.object({
  connection_id: z.string().min(1),
  /** Either: the first client of the class, or the one of this id. */
  class: z.string().optional(),
  client_id: z.string().optional(),
  expires_in: z.int().positive().optional(),
});

export interface RotationServer {
  /** Of the fault proxy, through which everything passes. */
  origin: string;
  tokenUrl: string;
  introspectUrl: string;
  revokeUrl: string;
  clients: RotationClient[];
  /** In front of all endpoints: injects faults and counts. */
  proxy: FaultProxy;
  /** Faults by probability, as `POST /faults` sets them. */
  setFaults(settings: Partial<FaultSettings>): void;
  createGrant(connectionId: string, clientId: string, expiresIn?: number): Promise<IssuedGrant>;
  isLive(token: string): boolean;
  ledger(): RotationLedger;
  close(): Promise<void>;
}

/**
 * An authorization server for tests, oidc-provider with the rotation class of each client, behind a
 * fault proxy. Beside the endpoints of createRotationProvider, all as JSON:
 * `POST /grants {"connection_id", "class" or "client_id", "expires_in"?}` answers the tokens of a new
 * grant; `GET /clients`; `GET /ledger`, the ground truth; `GET /live?token=`; `POST /faults` replaces
 * the fault settings (rotation-faults.ts).
 */
export async function startRotationServer(
  options: {
    port?: number;
    clients?: RotationClient[];
    random?: () => number;
    /** What the end of a refresh token takes with it (RFC 7009 §2.1 leaves it open); default: its grant. */
    revocationEnds?: 'grant' | 'token';
  } = {},
): Promise<RotationServer> {
  const { clients = rotationClients, random = Math.random } = options;
  const nowMs = (): number => Date.now();
  const families = createRotationFamilies(nowMs);
  const faults = createFaultChooser(random);
  const upstreamPort = await findFreePort();
  const upstream = `http://127.0.0.1:${upstreamPort}`;
  const provider = createRotationProvider({
    issuer: upstream,
    clients,
    families,
    nowMs,
    answerDelayMs: () => faults.delayMs(),
    revocationEnds: options.revocationEnds ?? 'grant',
  });

  async function createGrant(
    connectionId: string,
    clientId: string,
    expiresIn = defaultAccessTokenTtlSeconds,
  ): Promise<IssuedGrant> {
    const client = clients.find(({ id }) => id === clientId);
    if (client === undefined) throw new Error(`There is no client ${clientId}.`);
    return provider.createGrant({ connectionId, client, accessTokenTtlSeconds: expiresIn });
  }

  async function answerGrant(body: string): Promise<{ status: number; body: unknown }> {
    const wanted = grantSchema.safeParse(parseJson(body));
    if (!wanted.success) return { status: 400, body: { error: z.prettifyError(wanted.error) } };
    const { connection_id: connectionId, class: label, client_id: id } = wanted.data;
    const client = clients.find((other) =>
      id === undefined ? classLabel(other.rule) === label : other.id === id,
    );
    if (client === undefined) return { status: 400, body: { error: 'no such class or client' } };
    const issued = await createGrant(connectionId, client.id, wanted.data.expires_in);
    return { status: 201, body: issued };
  }

  async function answerControl(
    request: IncomingMessage,
    url: URL,
  ): Promise<{ status: number; body: unknown } | undefined> {
    switch (`${request.method ?? ''} ${url.pathname}`) {
      case 'POST /grants':
        return answerGrant(await readText(request));
      case 'GET /clients':
        return { status: 200, body: clients.map(toWireClient) };
      case 'GET /ledger':
        return { status: 200, body: families.ledger() };
      case 'GET /live':
        return {
          status: 200,
          body: { live: families.isLive(url.searchParams.get('token') ?? '') },
        };
      case 'POST /faults': {
        const settings = faultSettingsSchema.safeParse(parseJson(await readText(request)));
        if (!settings.success)
          return { status: 400, body: { error: z.prettifyError(settings.error) } };
        faults.set(settings.data);
        return { status: 200, body: settings.data };
      }
      default:
        return undefined;
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await answerControl(request, new URL(request.url ?? '/', upstream));
    if (answer === undefined) {
      provider.handler(request, response);
      return;
    }
    response.writeHead(answer.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer.body));
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  server.listen(upstreamPort, '127.0.0.1');
  await once(server, 'listening');
  const proxy = await startFaultProxy(upstream, {
    ...(options.port === undefined ? {} : { port: options.port }),
    chooseFault: (request) => faults.choose(request),
    onAnswer({ path, body }, { status, hasLeft }) {
      if (path !== '/token' || status !== 200 || hasLeft) return;
      const refreshToken = new URLSearchParams(body).get('refresh_token');
      if (refreshToken !== null) families.countLostAnswer(refreshToken);
    },
  });

  return {
    origin: proxy.origin,
    tokenUrl: `${proxy.origin}/token`,
    introspectUrl: `${proxy.origin}/token/introspection`,
    revokeUrl: `${proxy.origin}/token/revocation`,
    clients,
    proxy,
    setFaults: (settings) => faults.set(faultSettingsSchema.parse(settings)),
    createGrant,
    isLive: (token) => families.isLive(token),
    ledger: () => families.ledger(),
    async close() {
      await proxy.close();
      server.closeAllConnections();
      server.close();
    },
  };
}

function clientOf(label: string, introspection: boolean): RotationClient {
  const rule = parseClassLabel(label);
  if (rule === undefined) throw new Error(`There is no class ${label}.`);
  // VSCHAR without what form encoding would change.
  const id = label.replace(/[()]/g, '') + (introspection ? '-introspection' : '');
  return { id, secret: clientSecret, rule, introspection };
}

function toWireClient({ id, secret, rule, introspection }: RotationClient): object {
  return { client_id: id, client_secret: secret, class: classLabel(rule), introspection };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
