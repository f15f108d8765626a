import type { ProblemCode } from '../client/contract.ts';
import type { Logger } from '../platform/log.ts';

export interface AuditedRequest {
  /** As the policy names it; undefined: nobody that is known. */
  caller: string | undefined;
  /** Of whoever is not known, what the certificate says. */
  subjects: string[] | undefined;
  clientAddress: string;
  connectionId: string | undefined;
  appId: string | undefined;
  requestId: string;
}

export type WriteAudit = (request: AuditedRequest) => void;

export interface AuditTrail {
  /**
   * One line, `audit: true`, for each token handed out, each write and each refusal: who, what, of which
   * connection or app, and how it ended. Names and ids only: never a token, key or body. `action` is a
   * method and a route's template.
   */
  of(action: string, outcome: ProblemCode | 'done'): WriteAudit;
}

export function createAuditTrail(log: Pick<Logger, 'prepare' | 'info'>): AuditTrail {
  const known = new Map<string, WriteAudit>();

  function make(action: string, outcome: string): WriteAudit {
    const write = log.prepare({ action, outcome }, 'audit', [
      'caller',
      'client_address',
      'connection_id',
      'app_id',
      'request_id',
    ]);
    return (request) => {
      const { caller, subjects, clientAddress, connectionId, appId, requestId } = request;
      if (subjects === undefined) write(caller, clientAddress, connectionId, appId, requestId);
      else {
        // A list is for the log's own serializer; nobody who gives a certificate is refused often.
        const facts = { connection_id: connectionId, app_id: appId, request_id: requestId };
        log.info(
          { subjects, caller, client_address: clientAddress, ...facts, action, outcome },
          'audit',
        );
      }
    };
  }

  return {
    of(action, outcome) {
      const key = `${action} ${outcome}`;
      let write = known.get(key);
      if (write === undefined) {
        write = make(action, outcome);
        known.set(key, write);
      }
      return write;
    },
  };
}
