import type { Secret } from '../platform/secret.ts';

/** Nothing has left this process, or nobody took it: the refresh token is not spent. */
export interface NotSent {
  kind: 'not_sent';
  class: 'transient' | 'misconfigured';
  /** A network code such as ECONNREFUSED, or `connect_timeout`, `egress_refused`, `tls_*`, `send_limit` … */
  code: string;
}

export type TokenAnswer =
  | NotSent
  /** Sent, and then no complete answer: the token may be spent. */
  | { kind: 'no_answer'; code: string }
  | {
      kind: 'answer';
      status: number;
      /** Only those that judging needs; lower-case names. */
      headers: Record<string, string>;
      /** At most 1 MiB after decompression. */
      body: Secret;
    };

export function notSent(failureClass: NotSent['class'], code: string): NotSent {
  return { kind: 'not_sent', class: failureClass, code };
}
