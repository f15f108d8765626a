import type { CallRecord } from './callers.ts';
import type { ConnectionEvidence } from './evidence.ts';
import type { IssuedTokens } from './witness-journal.ts';

export interface WrongAnswer {
  call: CallRecord;
  why: string;
}

/** Answers of 200 with a token that was never issued to the connection, was over, or is an older one. */
export function judgeAnswers(
  calls: readonly CallRecord[],
  sorted: Map<string, ConnectionEvidence>,
): WrongAnswer[] {
  const issued = new Map<string, Map<string, IssuedTokens>>();
  for (const [id, { grants, sends }] of sorted) {
    const tokens = [...grants, ...sends].flatMap((entry) => entry.issued ?? []);
    issued.set(id, new Map(tokens.map((each) => [each.accessToken, each])));
  }
  return calls.flatMap((call) => {
    const why = whatIsWrong(call, issued.get(call.connectionId));
    return why === null ? [] : [{ call, why }];
  });
}

function whatIsWrong(
  call: CallRecord,
  issued: Map<string, IssuedTokens> | undefined,
): string | null {
  const { token, startedAtMs, versionMin } = call;
  if (token === null) return null;
  const truth = issued?.get(token.name);
  if (truth === undefined) return 'the provider never issued this token to the connection';
  if (truth.expiresAtMs < startedAtMs) return 'the token was over when it was asked for';
  if (token.version < versionMin) {
    return `version ${token.version}, although the caller had ${versionMin}`;
  }
  return null;
}
