import type { FailureClass, ReauthorizationReason } from '../client/contract.ts';
import type { Secret } from '../platform/secret.ts';
import { readPointer } from './json-pointer.ts';
import { classOfOAuthError, reasonOfOAuthErrors } from './oauth-errors.ts';
import type { ErrorRule, PointerTest, ProviderDefinition } from './provider-definition.ts';
import { knownCode, networkCode, plausibleCode } from './recorded-code.ts';
import { readRetryAfter } from './retry-after.ts';
import { readAnswer, secretsIn, textOf, type SeenAnswer } from './seen-answer.ts';
import type { ExtractedTokens } from './token-answer.ts';
import type { TokenAnswer } from './provider-answer.ts';

export type Judgement = { kind: 'success'; warnings: string[] } | Failure;

export interface Failure {
  kind: 'failure';
  class: FailureClass;
  /** The OAuth error, `http_<status>`, or a network code; never a provider's text, never a secret. */
  code: string;
  /** As the provider asked, 0 to 3600; null if it did not. */
  retryAfterSeconds: number | null;
  /** With class permanent: why the customer must authorise again. */
  reason: ReauthorizationReason | null;
}

/** Too many requests and out of service: they mean the same whatever error stands beside them. */
const plainStatuses = new Set([429, 503]);

/** The request is wrong for every connection of the app. */
const misconfiguredStatuses = new Set([401, 404, 405, 406, 410, 413, 414, 415, 421, 426, 431]);

/**
 * Written by whoever stands before the provider (RFC 9110 §15.6.3 and .5, and the range of content
 * delivery networks): whatever the body says, what happened behind is not known.
 */
const proxyStatuses = new Set([502, 504, 520, 521, 522, 523, 524, 525, 526, 527, 530]);

/**
 * Judges an answer by: was it sent, is it complete, the definition's own rules, the OAuth error, the
 * status. Total: every answer has exactly one judgement, and nothing throws. `now` dates a Retry-After
 * if the answer has no Date of its own. `sentSecrets` are those of the request, for a provider may echo
 * one where its error code should stand.
 */
export function judgeAnswer(
  definition: ProviderDefinition,
  answer: TokenAnswer,
  tokens: ExtractedTokens | null,
  now: Date,
  sentSecrets: readonly (Secret | null)[],
): Judgement {
  if (answer.kind === 'not_sent') return failure(answer.class, networkCode(answer.code));
  if (answer.kind === 'no_answer') return failure('ambiguous', networkCode(answer.code));

  const seen = readAnswer(definition, answer);
  const rule = definition.errors.find((candidate) => doesRuleApply(candidate, seen));
  if (rule === undefined && isSuccess(definition, seen, tokens)) {
    return { kind: 'success', warnings: tokens?.warnings ?? [] };
  }
  const secrets = [...sentSecrets, tokens?.accessToken, tokens?.refreshToken];
  return failure(
    rule?.class ?? classOf(seen),
    recordedCode(rule, seen, secrets),
    reasonOfOAuthErrors([seen.subtype, knownCode(seen.error)]),
    readRetryAfter(answer.headers, now),
  );
}

function isSuccess(
  definition: ProviderDefinition,
  seen: SeenAnswer,
  tokens: ExtractedTokens | null,
): boolean {
  const { successStatus, successWhen } = definition.response;
  const isSuccessStatus =
    successStatus === null ? isOk(seen.status) : successStatus.includes(seen.status);
  if (!isSuccessStatus || seen.hasError || !tokens?.accessToken) return false;
  return successWhen === null || doesTestHold(successWhen, seen.members);
}

/** All conditions that the rule names must hold. */
function doesRuleApply(rule: ErrorRule, seen: SeenAnswer): boolean {
  const { status, code, messageRegex, test } = rule.when;
  if (status !== null && !status.includes(seen.status)) return false;
  if (code !== null && !code.includes(seen.error)) return false;
  // With a message rule the pointer says where the text lies, unless it also says what it equals.
  const isTextAtPointer = messageRegex !== null && test !== null && test.equals === undefined;
  if (messageRegex !== null) {
    const text = isTextAtPointer ? textOf(readPointer(seen.members, test.pointer)) : seen.message;
    if (text === '' || !messageRegex.test(text)) return false;
  }
  return test === null || isTextAtPointer || doesTestHold(test, seen.members);
}

function doesTestHold(test: PointerTest, members: unknown): boolean {
  const value = readPointer(members, test.pointer);
  return test.equals === undefined ? value !== undefined : value === test.equals;
}

function classOf(seen: SeenAnswer): FailureClass {
  return classOfError(seen) ?? classOfStatus(seen);
}

/** What the error says, unless the status says more than any error could. */
function classOfError(seen: SeenAnswer): FailureClass | null {
  const { status } = seen;
  if (plainStatuses.has(status) || proxyStatuses.has(status) || isRedirect(status)) return null;
  const code = knownCode(seen.error);
  const failureClass = code === null ? null : classOfOAuthError(code, seen.message);
  // A verdict out of a broken server is none; but it says that nothing was spent.
  return failureClass === 'permanent' && status >= 500 ? 'transient' : failureClass;
}

/** What the status means when the answer names no known error. */
function classOfStatus(seen: SeenAnswer): FailureClass {
  const { status } = seen;
  if (status === 429) return 'rate_limited';
  // A page or a text comes from a proxy, and says nothing of what happened behind it.
  if (status === 503) return seen.members !== undefined || seen.isBlank ? 'transient' : 'ambiguous';
  if (isOk(status)) return seen.members === undefined ? 'ambiguous' : 'protocol_break';
  if (isRedirect(status) || misconfiguredStatuses.has(status)) return 'misconfigured';
  // Refused, and for this connection only as far as one can tell.
  if (status >= 400 && status < 500) return 'transient';
  return 'ambiguous';
}

function isOk(status: number): boolean {
  return status >= 200 && status < 300;
}

function isRedirect(status: number): boolean {
  return status >= 300 && status < 400;
}

/**
 * The code under which a failure is recorded: one that this project or the definition knows, else one
 * that can be nothing but a code, else the status.
 */
function recordedCode(
  rule: ErrorRule | undefined,
  seen: SeenAnswer,
  secrets: readonly (Secret | null | undefined)[],
): string {
  const byStatus = `http_${seen.status}`;
  const code = knownCode(seen.error);
  const isNamedByRule = rule?.when.code?.includes(seen.error) ?? false;
  if (code !== null && (isNamedByRule || classOfOAuthError(code, '') !== null)) return code;
  // A rule that matched a value of its own definition may give that as the code.
  const equals = rule?.when.test?.equals;
  const byRule = typeof equals === 'string' ? knownCode(equals) : null;
  const revealed = function* (): Iterable<string> {
    for (const secret of secrets) if (secret) yield secret.reveal();
    yield* secretsIn(seen.members);
  };
  return byRule ?? plausibleCode(seen.error, revealed()) ?? byStatus;
}

function failure(
  failureClass: FailureClass,
  code: string,
  reason: ReauthorizationReason | null = null,
  retryAfterSeconds: number | null = null,
): Failure {
  return {
    kind: 'failure',
    class: failureClass,
    code,
    retryAfterSeconds,
    reason: failureClass === 'permanent' ? reason : null,
  };
}
