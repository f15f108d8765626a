import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { TokenManagerError, type ProblemCode } from '../client/contract.ts';
import { createProblem } from './problem.ts';

/**
 * What is sent after the answer is read and thrown away for so long: closed with unread bytes, a
 * connection is reset, and the answer lost with it.
 */
const lingerMs = 1_000;

const clientErrorCodes: Record<string, ProblemCode> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'request_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};

/** The problem behind an error of Node's HTTP parser or of its time limits. */
export function problemOfClientError(error: NodeJS.ErrnoException): TokenManagerError {
  const code = clientErrorCodes[error.code ?? ''];
  return code === undefined ? notHttp() : new TokenManagerError(code);
}

export function notHttp(): TokenManagerError {
  return new TokenManagerError('input_validation', {
    detail: 'The request is not HTTP that this service reads.',
  });
}

/** Writes a whole HTTP/1.1 answer with a problem where there is no response object, and ends. */
export function writeProblem(
  socket: Socket,
  error: TokenManagerError,
  extraHeaders: Record<string, string> = {},
): void {
  const problem = createProblem(error, { requestId: randomUUID() });
  const text = JSON.stringify(problem.body);
  const headers = {
    ...problem.headers,
    ...extraHeaders,
    Date: new Date().toUTCString(),
    'Content-Length': String(Buffer.byteLength(text)),
    Connection: 'close',
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}\r\n${lines.join('')}\r\n${text}`,
  );
  socket.resume();
  setTimeout(() => socket.destroy(), lingerMs).unref();
}
