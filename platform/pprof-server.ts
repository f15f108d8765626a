import { createServer, type ServerResponse } from 'node:http';
import { problemKinds, type InputFault, type ProblemCode } from '../client/contract.ts';
import { listen } from './listen.ts';
import type { Logger } from './log.ts';
import { urlHost } from './metrics-server.ts';
import type { Profiler } from './profiler.ts';

/** What `go tool pprof` asks for when it names no time. */
const secondsDefault = 30;
const secondsMax = 120;
const retryAfterSeconds = 5;

const index = `profiles of this process, for go tool pprof:
/debug/pprof/profile?seconds=${secondsDefault}  CPU and wall time, 1 to ${secondsMax} seconds
/debug/pprof/heap                what is in use
`;

export interface PprofServer {
  /** `http://host:port/debug/pprof` */
  url: string;
  close(): Promise<void>;
}

/**
 * Plain HTTP for `go tool pprof`: `/debug/pprof/profile?seconds=` and `/debug/pprof/heap`, one profile at
 * a time; a caller that goes away ends its profile. Rejects when the port is in use.
 */
export async function createPprofServer(options: {
  host: string;
  /** PPROF_PORT; 0 in a test chooses a free one. */
  port: number;
  profiler: Profiler;
  log: Pick<Logger, 'info' | 'error'>;
}): Promise<PprofServer> {
  const { host, port, profiler, log } = options;
  let isProfiling = false;

  async function answer(target: string, response: ServerResponse): Promise<void> {
    const [path = '', query = ''] = target.split('?', 2);
    switch (path) {
      case '/debug/pprof':
      case '/debug/pprof/':
        response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' }).end(index);
        return;
      case '/debug/pprof/profile': {
        const seconds = readSeconds(new URLSearchParams(query));
        if (seconds === undefined) {
          const detail = `must be a whole number from 1 to ${secondsMax}`;
          sendProblem(response, 'input_validation', [{ parameter: 'seconds', detail }]);
          return;
        }
        const gone = new AbortController();
        response.on('close', () => gone.abort());
        log.info({ seconds }, 'CPU profile begins');
        await profileOnce('profile', response, () => profiler.cpu(1_000 * seconds, gone.signal));
        return;
      }
      case '/debug/pprof/heap':
        await profileOnce('heap', response, () => profiler.heap());
        return;
      default:
        sendProblem(response, 'not_found');
    }
  }

  async function profileOnce(
    name: string,
    response: ServerResponse,
    profile: () => Promise<Buffer>,
  ): Promise<void> {
    if (isProfiling) {
      sendProblem(response, 'overloaded');
      return;
    }
    isProfiling = true;
    try {
      const body = await profile();
      response
        .writeHead(200, {
          'Content-Type': 'application/octet-stream',
          'Content-Disposition': `attachment; filename="${name}.pb.gz"`,
          'Content-Length': body.byteLength,
        })
        .end(body);
    } finally {
      isProfiling = false;
    }
  }

  const server = createServer((request, response) => {
    request.resume();
    response.setHeader('Cache-Control', 'no-store');
    response.setHeader('X-Content-Type-Options', 'nosniff');
    if (request.method !== 'GET') {
      response.setHeader('Allow', 'GET');
      sendProblem(response, 'method_not_allowed');
      return;
    }
    answer(request.url ?? '/', response).catch((error: unknown) => {
      log.error({ err: error }, 'profile failed');
      if (!response.headersSent) sendProblem(response, 'internal');
    });
  });
  const { port: usedPort } = await listen(server, { host, port, setting: 'PPROF_PORT' });
  return {
    url: `http://${urlHost(host)}:${usedPort}/debug/pprof`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function readSeconds(query: URLSearchParams): number | undefined {
  const asked = query.get('seconds');
  if (asked === null) return secondsDefault;
  const seconds = /^\d{1,4}$/.test(asked) ? Number(asked) : 0;
  return seconds >= 1 && seconds <= secondsMax ? seconds : undefined;
}

/** Problem details as the gateway's (RFC 9457), for this page has callers of its own. */
function sendProblem(response: ServerResponse, code: ProblemCode, errors?: InputFault[]): void {
  const { status, retryable, remedy, summary } = problemKinds[code];
  const title = code === 'input_validation' ? 'InputValidationProblem' : 'ApplicationProblem';
  const detail = code === 'overloaded' ? 'Another profile is being taken.' : summary;
  response
    .writeHead(status, {
      'Content-Type': 'application/problem+json',
      ...(retryable && { 'Retry-After': String(retryAfterSeconds) }),
    })
    .end(
      JSON.stringify({
        type: `/problems/${code}`,
        title,
        status,
        detail,
        code,
        retryable,
        remedy,
        ...(errors !== undefined && { errors }),
      }),
    );
}
