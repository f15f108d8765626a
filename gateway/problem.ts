import { HTTPException } from 'hono/http-exception';
import {
  problemKinds,
  TokenManagerError,
  type InputFault,
  type ProblemCode,
} from '../client/contract.ts';

const retryAfterDefaultSeconds = 1;

/** Body of a problem, RFC 9457 section 3 with the members of docs/api.md section 3. */
export interface ProblemBody {
  /** `/problems/<code>`, relative to the service. */
  type: string;
  title: 'InputValidationProblem' | 'ApplicationProblem';
  status: number;
  detail: string;
  code: ProblemCode;
  retryable: boolean;
  retry_after_seconds?: number;
  remedy: string;
  request_id: string;
  connection_id?: string;
  reason?: string;
  errors?: InputFault[];
}

export interface Problem {
  status: number;
  headers: Record<string, string>;
  body: ProblemBody;
}

/**
 * The only place that makes problem details. What a fault of the service says stays in the log: from
 * 500 on the detail is the sentence of the code, never the error's own text, and there is no reason.
 */
export function createProblem(
  error: TokenManagerError,
  request: { requestId: string; connectionId?: string | undefined },
): Problem {
  const kind = problemKinds[error.code];
  const connectionId = error.connectionId ?? request.connectionId;
  const retryAfterSeconds = retryAfter(error, kind.retryable);
  const errors = error.errors ?? (error.code === 'input_validation' ? [] : undefined);
  return {
    status: kind.status,
    headers: {
      'Content-Type': 'application/problem+json',
      'Cache-Control': 'no-store',
      'X-Request-Id': request.requestId,
      ...(retryAfterSeconds !== undefined && { 'Retry-After': String(retryAfterSeconds) }),
    },
    body: {
      type: `/problems/${error.code}`,
      title: error.code === 'input_validation' ? 'InputValidationProblem' : 'ApplicationProblem',
      status: kind.status,
      detail: kind.status >= 500 ? kind.summary : error.message,
      code: error.code,
      retryable: kind.retryable,
      ...(retryAfterSeconds !== undefined && { retry_after_seconds: retryAfterSeconds }),
      remedy: kind.remedy,
      request_id: request.requestId,
      ...(connectionId !== undefined && { connection_id: connectionId }),
      ...(error.reason !== undefined && kind.status < 500 && { reason: error.reason }),
      ...(errors !== undefined && { errors }),
    },
  };
}

/** Whatever was thrown, as the one type of error: what nobody foresaw is `internal`. */
export function asTokenManagerError(thrown: unknown): TokenManagerError {
  if (thrown instanceof TokenManagerError) return thrown;
  if (thrown instanceof HTTPException) {
    // Hono's validators throw these; their causes may quote the body, so they are dropped here.
    if (thrown.status === 415) return new TokenManagerError('unsupported_media_type');
    if (thrown.status === 400) return bodyFault('is not valid JSON');
  }
  return new TokenManagerError('internal', { cause: thrown });
}

/** The body as a whole is at fault: an empty JSON pointer names it (RFC 6901 section 5). */
export function bodyFault(detail: string): TokenManagerError {
  return new TokenManagerError('input_validation', { errors: [{ pointer: '', detail }] });
}

function retryAfter(error: TokenManagerError, retryable: boolean): number | undefined {
  const seconds = error.retryAfterSeconds ?? (retryable ? retryAfterDefaultSeconds : undefined);
  return seconds === undefined ? undefined : Math.max(Math.ceil(seconds), 1);
}
