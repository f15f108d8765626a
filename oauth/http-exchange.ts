import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { brotliDecompress, gunzip, inflate, inflateRaw } from 'node:zlib';
import { Client, type Dispatcher } from 'undici';
import { Secret } from '../platform/secret.ts';
import type { TokenAnswer } from './provider-answer.ts';
import type { HttpRequest } from './provider-request.ts';

const headerSizeMaxBytes = 32 * 1_024;
/** What judging an answer and asking again need, and nothing that could carry a secret. */
const keptHeaders = ['content-type', 'date', 'dpop-nonce', 'retry-after'] as const;
/** Alerts of RFC 8446 §6.2 about the client's certificate, in the words of OpenSSL. */
const certificateAlertPattern =
  /^ERR_SSL_\w+_ALERT_(?:(?:BAD_|UNSUPPORTED_)?CERTIFICATE(?:_\w+)?|UNKNOWN_CA|ACCESS_DENIED)$/;
const errorCodePattern = /^[A-Za-z0-9_.-]{1,64}$/;
const zlibHeaderNibble = 0x08;
/** Turns of the event loop: each reads 64 KiB, so that these are enough for the largest answer. */
const lateReadTurnsMax = 64;
const quietTurnsMin = 3;

/** The end of an exchange as this side decided it. */
class ExchangeEnd extends Error {
  readonly answer: TokenAnswer;

  constructor(answer: TokenAnswer) {
    super('the exchange ended');
    this.answer = answer;
  }
}

interface HttpExchange {
  /** Connected, and used for nothing before. */
  socket: Socket;
  origin: string;
  http: HttpRequest;
  /** Of the answer, before and after decompression. */
  bodyMaxBytes: number;
  mayStillSend(): boolean;
  deadlineMs: number;
}

/**
 * One HTTP/1.1 request over a socket that is already open, and its answer; the socket is closed
 * afterwards. Follows no redirect and repeats nothing. Whatever goes wrong after the first byte is
 * `no_answer`.
 */
export async function exchangeHttp(exchange: HttpExchange): Promise<TokenAnswer> {
  const { socket, origin, http, deadlineMs } = exchange;
  let isHandedOver = false;
  const alerts: Error[] = [];
  // undici tells only that the connection ended; the alert before it is an error of the socket.
  socket.on('error', (error) => {
    if (isCertificateAlert(error)) alerts.push(error);
  });
  const client = new Client(origin, {
    // In a turn of its own, for undici overlooks a connection that is there before it has asked; and
    // once only, for over a dead socket it would ask again and again.
    connect: (_options, done) => {
      queueMicrotask(() => {
        if (isHandedOver || !isOpen(socket)) {
          done(new Error('the connection is closed'), null);
        } else {
          isHandedOver = true;
          done(null, socket);
        }
      });
    },
    pipelining: 1,
    maxHeaderSize: headerSizeMaxBytes,
    // The total deadline below is the only one.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    const answer = await new Promise<TokenAnswer>((resolve) => {
      timer = setTimeout(() => {
        void readArrived(socket).then(() => {
          resolve({ kind: 'no_answer', code: 'answer_timeout' });
        });
      }, deadlineMs);
      client.dispatch(
        {
          method: http.method,
          path: http.path,
          headers: http.headers,
          body: http.body === null ? null : Buffer.from(http.body, 'utf8'),
          idempotent: false,
          reset: true,
        },
        createAnswerReader(exchange, resolve),
      );
    });
    const isUnanswered = answer.kind === 'no_answer' && answer.code !== 'answer_truncated';
    return isUnanswered && alerts.length > 0 ? certificateRefused : answer;
  } finally {
    clearTimeout(timer);
    socket.destroy();
    void client.destroy();
  }
}

/**
 * Lets an answer be read that lies in the socket already: in a process that was paused the deadline comes
 * first, and its answer may hold the only live refresh token.
 */
async function readArrived(socket: Socket): Promise<void> {
  let quietTurns = 0;
  for (let turn = 0; turn < lateReadTurnsMax && quietTurns < quietTurnsMin; turn += 1) {
    const before = socket.bytesRead;
    await nextTurn();
    quietTurns = socket.bytesRead === before ? quietTurns + 1 : 0;
  }
}

/** Turns what undici reports into one answer. */
function createAnswerReader(
  exchange: HttpExchange,
  resolve: (answer: TokenAnswer | Promise<TokenAnswer>) => void,
): Dispatcher.DispatchHandler {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  let hasStarted = false;
  let response: { status: number; headers: Record<string, string>; encoding: string } | null = null;

  return {
    // undici calls this in the turn in which it writes, and writes nothing if it aborts.
    onRequestStart(controller) {
      const code = refusalToSend(exchange);
      if (code === null) hasStarted = true;
      else controller.abort(new ExchangeEnd({ kind: 'not_sent', class: 'transient', code }));
    },
    onResponseStart(_controller, status, headers) {
      response = {
        status,
        headers: keepHeaders(headers),
        encoding: headerText(headers['content-encoding']).trim().toLowerCase(),
      };
    },
    onResponseData(controller, chunk) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes <= exchange.bodyMaxBytes) chunks.push(chunk);
      else controller.abort(new ExchangeEnd({ kind: 'no_answer', code: 'answer_too_large' }));
    },
    onResponseEnd() {
      if (response === null) return;
      resolve(readAnswer(response, Buffer.concat(chunks), exchange.bodyMaxBytes));
    },
    onResponseError(_controller, error) {
      if (error instanceof ExchangeEnd) resolve(error.answer);
      else if (!hasStarted)
        resolve({ kind: 'not_sent', class: 'transient', code: 'connection_closed' });
      else
        resolve({
          kind: 'no_answer',
          code: response === null ? lossCode(error) : 'answer_truncated',
        });
    },
  };
}

/** Asked last, so that nothing is sent over a dead connection or after the limit. */
function refusalToSend(exchange: HttpExchange): string | null {
  if (!isOpen(exchange.socket)) return 'connection_closed';
  return exchange.mayStillSend() ? null : 'send_limit';
}

function isOpen(socket: Socket): boolean {
  // Bytes that came before the request cannot be its answer.
  return socket.writable && socket.readable && socket.readableLength === 0;
}

async function readAnswer(
  response: { status: number; headers: Record<string, string>; encoding: string },
  compressed: Buffer,
  bodyMaxBytes: number,
): Promise<TokenAnswer> {
  const body = await decompress(compressed, response.encoding, bodyMaxBytes);
  if (typeof body === 'string') return { kind: 'no_answer', code: body };
  const text = new TextDecoder().decode(body);
  const { status, headers } = response;
  return { kind: 'answer', status, headers, body: new Secret(text) };
}

/** The body, or the code of why it cannot be had. */
async function decompress(
  body: Buffer,
  encoding: string,
  bodyMaxBytes: number,
): Promise<Buffer | string> {
  const limit = { maxOutputLength: bodyMaxBytes };
  if (body.length === 0) return body;
  try {
    switch (encoding) {
      case '':
      case 'identity':
        return body;
      case 'gzip':
      case 'x-gzip':
        return await promisify(gunzip)(body, limit);
      case 'deflate': {
        // RFC 9110 §8.4.1.2 means zlib; some servers leave its two-byte header out.
        const isZlib = ((body[0] ?? 0) & 0x0f) === zlibHeaderNibble;
        const options = limit as Parameters<typeof inflate>[1];
        return await promisify<Buffer, typeof options, Buffer>(isZlib ? inflate : inflateRaw)(
          body,
          options,
        );
      }
      case 'br':
        return await promisify(brotliDecompress)(body, limit);
      default:
        return 'answer_encoding_unknown';
    }
  } catch (error) {
    const isTooLarge = error instanceof Error && 'code' in error;
    return isTooLarge && error.code === 'ERR_BUFFER_TOO_LARGE'
      ? 'answer_too_large'
      : 'answer_undecodable';
  }
}

function keepHeaders(
  headers: Record<string, string | string[] | undefined>,
): Record<string, string> {
  return Object.fromEntries(
    keptHeaders.flatMap((name) =>
      headers[name] === undefined ? [] : [[name, headerText(headers[name])]],
    ),
  );
}

function headerText(value: string | string[] | undefined): string {
  return Array.isArray(value) ? value.join(', ') : (value ?? '');
}

const certificateRefused: TokenAnswer = {
  kind: 'not_sent',
  class: 'misconfigured',
  code: 'tls_client_certificate',
};

/**
 * In TLS 1.3 the client's handshake ends before the server has looked at its certificate (RFC 8446 §2), so
 * the refusal comes after the request. Nobody read the request: the server's handshake never ended.
 */
function isCertificateAlert(error: Error): boolean {
  return 'code' in error && certificateAlertPattern.test(String(error.code));
}

/** A code of the network or of undici, never its message. */
function lossCode(error: Error): string {
  const code = 'code' in error ? String(error.code) : '';
  return errorCodePattern.test(code) ? code : 'connection_lost';
}
