import type { ProblemCode } from '../client/contract.ts';
import type { Logger } from '../platform/log.ts';
import type { HttpLabels, Metrics } from '../platform/metrics.ts';

export type HttpMetrics = Pick<
  Metrics,
  'httpRequests' | 'httpRequestDurationSeconds' | 'httpRequestSizeBytes' | 'httpResponseSizeBytes'
>;

/** What requests have in common: labels of the metrics, and fixed parts of the log line. */
export interface RequestKind extends HttpLabels {
  problem: ProblemCode | undefined;
}

/** What only the audit tells of a request. */
export interface AuditFacts {
  appId: string | undefined;
  /** As the policy names it; undefined: nobody that is known. */
  caller: string | undefined;
  /** Of whoever is not known, what the certificate says. */
  subjects: string[] | undefined;
  clientAddress: string;
}

/** What is told of a single one. */
export interface RequestFacts {
  durationSeconds: number;
  requestBytes: number;
  responseBytes: number;
  requestId: string;
  traceId: string;
  connectionId: string | undefined;
  /** Of a token handed out, a write or a refusal. */
  audit: AuditFacts | undefined;
}

/** What every line of a request tells. */
const ofEach = ['request_id', 'connection_id', 'duration_ms', 'trace_id'];

export type RecordRequest = (facts: RequestFacts) => void;

export interface RequestRecords {
  /** Counts a request and writes its one log line. */
  of(kind: RequestKind): RecordRequest;
}

/**
 * Metrics, log and audit of requests. Labels and line hold the route's template, never the path, the query
 * or a body, so they stay bounded and free of secrets; what is the same for all requests of a kind is
 * made once.
 *
 * The audit is a part of the request's line, which `audit: true` marks: who, what, of which connection or
 * app, and how it ended. Names and ids only: never a token, key or body. It is written whatever the level,
 * and if requests are not logged, by itself.
 */
export function createRequestRecords(dependencies: {
  metrics: HttpMetrics;
  log: Pick<Logger, 'prepare' | 'info' | 'child'>;
  logHttpRequests: boolean;
}): RequestRecords {
  const { metrics, log, logHttpRequests } = dependencies;
  const auditLog = log.child({ audit: true }, { level: 'info' });
  const known = new Map<string, RecordRequest>();

  function make(kind: RequestKind): RecordRequest {
    const requests = metrics.httpRequests.series({ ...kind, problem: kind.problem ?? '' });
    const durations = metrics.httpRequestDurationSeconds.series(kind);
    const requestSizes = metrics.httpRequestSizeBytes.series(kind);
    const responseSizes = metrics.httpResponseSizeBytes.series(kind);
    const writeLine = logHttpRequests ? requestLine(kind) : undefined;
    const writeAudit = auditLine(kind);
    return (facts) => {
      requests.inc();
      durations.observe(facts.durationSeconds);
      requestSizes.observe(facts.requestBytes);
      responseSizes.observe(facts.responseBytes);
      if (facts.audit === undefined) writeLine?.(facts);
      else writeAudit(facts, facts.audit);
    };
  }

  function requestLine(kind: RequestKind): RecordRequest {
    const write = log.prepare(kind, 'request', ofEach);
    return (facts) => {
      write(facts.requestId, facts.connectionId, durationMs(facts), facts.traceId);
    };
  }

  function auditLine(kind: RequestKind): (facts: RequestFacts, audit: AuditFacts) => void {
    const { method, route, problem } = kind;
    const ofRequest = logHttpRequests ? kind : {};
    const fixed = { ...ofRequest, action: `${method} ${route}`, outcome: problem ?? 'done' };
    const message = logHttpRequests ? 'request' : 'audit';
    const names = [...ofEach, 'app_id', 'caller', 'client_address'];
    const write = auditLog.prepare(fixed, message, names);
    return (facts, { appId, caller, subjects, clientAddress }) => {
      const { requestId, connectionId } = facts;
      const took = logHttpRequests ? durationMs(facts) : undefined;
      const traceId = logHttpRequests ? facts.traceId : undefined;
      if (subjects === undefined) {
        write(requestId, connectionId, took, traceId, appId, caller, clientAddress);
      } else {
        // A list is for the log's own serializer; nobody who gives a certificate is refused often.
        const request = { request_id: requestId, connection_id: connectionId, duration_ms: took };
        const who = { app_id: appId, caller, subjects, client_address: clientAddress };
        auditLog.info({ ...fixed, ...request, trace_id: traceId, ...who }, message);
      }
    };
  }

  return {
    of(kind) {
      const key = `${kind.method} ${kind.route} ${kind.status} ${kind.problem ?? ''}`;
      let record = known.get(key);
      if (record === undefined) {
        record = make(kind);
        known.set(key, record);
      }
      return record;
    },
  };
}

function durationMs({ durationSeconds }: RequestFacts): number {
  return Math.round(durationSeconds * 1_000_000) / 1_000;
}
