import { once } from 'node:events';
import {
  createServer,
  request as sendHttp,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { providerFaults, type ProviderFault } from './chaos-schedule.ts';
import { answerJson, readBody } from './read-body.ts';
import type { SeededRandom } from './seeded-random.ts';
import {
  tokenName,
  type Delivery,
  type IssuedTokens,
  type JournalEntry,
  type SendEntry,
} from './witness-journal.ts';

/** Some outlast the deadline of the run, 5 s. */
const delayMs = [500, 7_000] as const;
const retryAfterSeconds = '2';
const hopHeaders = ['connection', 'content-length', 'keep-alive', 'transfer-encoding'];
const page = '<html><body><h1>502 Bad Gateway</h1></body></html>';

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

interface TokenBody {
  access_token?: string;
  refresh_token?: string;
  expires_in?: number;
  error?: string;
}

/**
 * Stands before an authorization server, injects faults into its token endpoint, and writes down what
 * was sent with which token, what was issued, and which answers went out. Besides the server's own
 * routes: `POST /faults {"what", "share"}` and `GET /journal?after=<entries seen>`.
 */
export function createTokenWitness(options: {
  upstreamOrigin: string;
  random: SeededRandom;
  nowMs: () => number;
}): Server {
  const { random, nowMs } = options;
  const upstream = new URL(options.upstreamOrigin);
  const journal: JournalEntry[] = [];
  const connectionOf = new Map<string, string>();
  const spent = new Set<string>();
  const faults = new Map<ProviderFault, number>();

  async function forward(request: IncomingMessage, body: Buffer): Promise<Answer> {
    const outgoing = sendHttp({
      host: upstream.hostname,
      port: upstream.port,
      method: request.method,
      path: request.url,
      headers: request.headers,
    });
    outgoing.end(body);
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    const answerBody = await readBody(incoming);
    return { status: incoming.statusCode ?? 502, headers: incoming.headers, body: answerBody };
  }

  function remember(connectionId: string, body: TokenBody): IssuedTokens {
    const accessToken = tokenName(body.access_token ?? '');
    const refreshToken = tokenName(body.refresh_token ?? '');
    connectionOf.set(refreshToken, connectionId);
    return { accessToken, refreshToken, expiresAtMs: nowMs() + 1_000 * (body.expires_in ?? 0) };
  }

  function drawFault(): ProviderFault | null {
    for (const [what, share] of faults) if (random.next() < share) return what;
    return null;
  }

  async function witnessSend(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestBody = await readBody(request);
    const form = new URLSearchParams(requestBody.toString('utf8'));
    const refreshToken = tokenName(form.get('refresh_token') ?? '');
    const fault = drawFault();
    let hasReader = true;
    const entry: SendEntry = {
      kind: 'send',
      connectionId: connectionOf.get(refreshToken) ?? 'unknown',
      refreshToken,
      wasSpent: spent.has(refreshToken),
      arrivedAtMs: nowMs(),
      endedAtMs: 0,
      status: null,
      error: null,
      issued: null,
      fault,
      delivery: 'answered',
    };
    if (fault === 'unavailable' || fault === 'rate_limit') {
      const status = fault === 'unavailable' ? 503 : 429;
      const error = fault === 'unavailable' ? 'temporarily_unavailable' : 'slow_down';
      answerJson(response, status, { error }, { 'retry-after': retryAfterSeconds });
    } else if (fault === 'bad_gateway' && random.next() < 0.5) {
      response.writeHead(502, { 'content-type': 'text/html' }).end(page);
    } else {
      const answer = await forward(request, requestBody);
      entry.status = answer.status;
      const body = parseBody(answer);
      entry.error = body.error ?? null;
      if (answer.status === 200) {
        entry.issued = remember(entry.connectionId, body);
        if (entry.issued.refreshToken !== refreshToken) spent.add(refreshToken);
      }
      if (fault === 'delay') await sleep(random.between(...delayMs));
      // A client that gives up, or dies, closes its side; Node writes the answer all the same.
      hasReader = !request.socket.readableEnded && !request.socket.destroyed;
      deliver(answer, fault, response, entry);
    }
    await ended(response);
    if (entry.delivery === 'answered' && !hasReader) entry.delivery = 'gone';
    entry.endedAtMs = nowMs();
    journal.push(entry);
  }

  /** An answer of the authorization server, as the fault would have it. */
  function deliver(
    answer: Answer,
    fault: ProviderFault | null,
    response: ServerResponse,
    entry: { delivery: Delivery },
  ): void {
    if (fault === 'drop') {
      entry.delivery = 'cut';
      response.destroy();
    } else if (fault === 'bad_gateway') {
      entry.delivery = 'cut';
      response.writeHead(502, { 'content-type': 'text/html' }).end(page);
    } else if (fault === 'truncate') {
      entry.delivery = 'cut';
      writeHead(response, answer);
      response.write(answer.body.subarray(0, answer.body.length / 2), () => {
        response.socket?.destroySoon();
      });
    } else {
      writeHead(response, answer);
      response.end(answer.body);
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', upstream);
    if (pathname === '/journal') {
      answerJson(response, 200, journal.slice(Number(searchParams.get('after') ?? 0)));
      return;
    }
    if (pathname === '/faults') {
      setFaults(JSON.parse((await readBody(request)).toString('utf8')) as FaultRequest);
      answerJson(response, 200, {});
      return;
    }
    if (request.method === 'POST' && pathname === '/token') {
      await witnessSend(request, response);
      return;
    }
    const requestBody = await readBody(request);
    const answer = await forward(request, requestBody);
    if (pathname === '/grants' && answer.status === 201) {
      const { connection_id: connectionId } = JSON.parse(requestBody.toString('utf8')) as {
        connection_id: string;
      };
      const issued = remember(connectionId, parseBody(answer));
      journal.push({ kind: 'grant', connectionId, atMs: nowMs(), issued });
    }
    if (pathname === '/token/introspection') {
      const form = new URLSearchParams(requestBody.toString('utf8'));
      const refreshToken = tokenName(form.get('token') ?? '');
      journal.push({
        kind: 'probe',
        connectionId: connectionOf.get(refreshToken) ?? 'unknown',
        refreshToken,
        atMs: nowMs(),
        isActive: (parseBody(answer) as { active?: boolean }).active ?? null,
      });
    }
    writeHead(response, answer);
    response.end(answer.body);
  }

  function setFaults({ what, share }: FaultRequest): void {
    if (!providerFaults.includes(what)) throw new Error(`there is no fault ${what}`);
    if (share === 0) faults.delete(what);
    else faults.set(what, share);
  }

  return createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
}

/** `share` of the token requests meet the fault; 0 ends it. */
export interface FaultRequest {
  what: ProviderFault;
  share: number;
}

function writeHead(response: ServerResponse, answer: Answer): void {
  const headers = Object.entries(answer.headers).filter(([name]) => !hopHeaders.includes(name));
  response.writeHead(answer.status, {
    ...Object.fromEntries(headers),
    'content-length': String(answer.body.length),
  });
}

/** Sent to the end, or its connection is closed. */
async function ended(response: ServerResponse): Promise<void> {
  if (response.writableFinished || response.destroyed || response.closed) return;
  await Promise.race([once(response, 'finish'), once(response, 'close')]);
}

function parseBody({ body }: Answer): TokenBody {
  try {
    return JSON.parse(body.toString('utf8')) as TokenBody;
  } catch {
    return {};
  }
}
