import type { FailureClass, ReauthorizationReason } from '../client/contract.ts';
import { isHtml, parseAnswerBody } from './answer-body.ts';
import { readPointer } from './json-pointer.ts';
import type { ErrorRule, PointerTest, ProviderDefinition } from './provider-definition.ts';
import type { ExtractedTokens } from './token-answer.ts';
import type { TokenAnswer } from './token-endpoint.ts';

const retryAfterMaxSeconds = 3_600;
const messageLengthMax = 1_000;
const codePattern = /^[a-z0-9_.-]{1,64}$/;
const msPerSecond = 1_000;

export type Judgement = { kind: 'success'; warnings: string[] } | Failure;

export interface Failure {
  kind: 'failure';
  class: FailureClass;
  /** The OAuth error, `http_<status>`, or a network code; never a provider's text. */
  code: string;
  /** As the provider asked, at most an hour; null if it did not. */
  retryAfterSeconds: number | null;
  /** With class permanent: why the customer must authorise again. */
  reason: ReauthorizationReason | null;
}

/** OAuth error codes that mean the same at every provider (RFC 6749 §5.2 and usage). */
const classByCode: ReadonlyMap<string, FailureClass> = new Map<string, FailureClass>([
  ['invalid_grant', 'permanent'],
  ['invalid_refresh_token', 'permanent'],
  ['bad_refresh_token', 'permanent'],
  ['interaction_required', 'permanent'],
  ['login_required', 'permanent'],
  ['consent_required', 'permanent'],
  ['invalid_client', 'misconfigured'],
  ['incorrect_client_credentials', 'misconfigured'],
  ['unauthorized_client', 'misconfigured'],
  ['unsupported_grant_type', 'misconfigured'],
  ['invalid_scope', 'misconfigured'],
  ['invalid_target', 'misconfigured'],
  ['invalid_request', 'misconfigured'],
  ['temporarily_unavailable', 'transient'],
  ['use_dpop_nonce', 'transient'],
  ['server_error', 'ambiguous'],
  ['slow_down', 'rate_limited'],
  ['rate_limit_exceeded', 'rate_limited'],
  ['too_many_requests', 'rate_limited'],
]);

/** The provider wants the customer to act, rather than having ended the grant. */
const refusalCodes = new Set(['interaction_required', 'login_required', 'consent_required']);

/** Too many requests and out of service: they mean the same whatever error stands beside them. */
const plainStatuses = new Set([429, 503]);

/** The request is wrong for every connection of the app. */
const misconfiguredStatuses = new Set([401, 404, 405, 406, 410, 413, 414, 415, 421, 426, 431]);

/**
 * Judges an answer by: was it sent, is it complete, the definition's own rules, the OAuth error, the
 * status. Total: every answer has exactly one judgement, and nothing throws. `now` dates a Retry-After
 * if the answer has no Date of its own.
 */
export function judgeAnswer(
  definition: ProviderDefinition,
  answer: TokenAnswer,
  tokens: ExtractedTokens | null,
  now: Date,
): Judgement {
  if (answer.kind === 'not_sent') return failure(answer.class, answer.code);
  if (answer.kind === 'no_answer') return failure('ambiguous', answer.code);

  const seen = readAnswer(definition, answer);
  const retryAfterSeconds = readRetryAfter(answer.headers, now);
  const rule = definition.errors.find((candidate) => doesRuleApply(candidate, seen));
  if (rule !== undefined) {
    return failure(rule.class, ruleCode(rule, seen), seen.oauthCode, retryAfterSeconds);
  }
  if (isSuccess(definition, seen, tokens)) {
    return { kind: 'success', warnings: tokens?.warnings ?? [] };
  }
  const failureClass = classOfCode(seen) ?? classOfStatus(seen);
  return failure(failureClass, answerCode(seen), seen.oauthCode, retryAfterSeconds);
}

/** What judging looks at. */
interface SeenAnswer {
  status: number;
  members: Record<string, unknown> | undefined;
  isHtml: boolean;
  /** Names an error, in whatever shape. */
  hasError: boolean;
  /** The `error` member, if it is a code and no text. */
  oauthCode: string | null;
  message: string;
}

function readAnswer(
  definition: ProviderDefinition,
  answer: Extract<TokenAnswer, { kind: 'answer' }>,
): SeenAnswer {
  const text = answer.body.reveal();
  const members = parseAnswerBody(text, definition.response.format);
  const error = readPointer(members, '/error');
  const description = readPointer(members, '/error_description');
  return {
    status: answer.status,
    members,
    isHtml: isHtml(text) || (answer.headers['content-type'] ?? '').includes('html'),
    hasError: error !== undefined && error !== null && error !== '' && error !== false,
    oauthCode: typeof error === 'string' && codePattern.test(error) ? error : null,
    message: typeof description === 'string' ? description.slice(0, messageLengthMax) : '',
  };
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
  if (code !== null && !code.includes(rawError(seen))) return false;
  // With a message rule the pointer says where the text lies, unless it also says what it equals.
  const isTextAtPointer = messageRegex !== null && test !== null && test.equals === undefined;
  if (messageRegex !== null) {
    const text = isTextAtPointer ? readPointer(seen.members, test.pointer) : seen.message;
    if (typeof text !== 'string' || !messageRegex.test(text.slice(0, messageLengthMax)))
      return false;
  }
  return test === null || isTextAtPointer || doesTestHold(test, seen.members);
}

function doesTestHold(test: PointerTest, members: unknown): boolean {
  const value = readPointer(members, test.pointer);
  return test.equals === undefined ? value !== undefined : value === test.equals;
}

/** The `error` member as written: rules may name codes that are no codes by our own standard. */
function rawError(seen: SeenAnswer): string {
  const error = readPointer(seen.members, '/error');
  return typeof error === 'string' ? error : '';
}

function classOfCode(seen: SeenAnswer): FailureClass | null {
  if (seen.oauthCode === null || plainStatuses.has(seen.status)) return null;
  const failureClass = classByCode.get(seen.oauthCode) ?? null;
  // A verdict out of a broken server is none; but it says that nothing was spent.
  return failureClass === 'permanent' && seen.status >= 500 ? 'transient' : failureClass;
}

/** What the status means when the answer names no known error. */
function classOfStatus(seen: SeenAnswer): FailureClass {
  const { status } = seen;
  if (status === 429) return 'rate_limited';
  // A page comes from a proxy, and says nothing of what happened behind it.
  if (status === 503) return seen.isHtml ? 'ambiguous' : 'transient';
  if (isOk(status)) return seen.members === undefined ? 'ambiguous' : 'protocol_break';
  if (status >= 300 && status < 400) return 'misconfigured';
  if (misconfiguredStatuses.has(status)) return 'misconfigured';
  // Refused, and for this connection only as far as one can tell.
  if (status >= 400 && status < 500) return 'transient';
  return 'ambiguous';
}

function isOk(status: number): boolean {
  return status >= 200 && status < 300;
}

function answerCode(seen: SeenAnswer): string {
  return seen.oauthCode ?? `http_${seen.status}`;
}

/** A rule that matched a value of its own definition may give that as the code. */
function ruleCode(rule: ErrorRule, seen: SeenAnswer): string {
  if (seen.oauthCode !== null) return seen.oauthCode;
  const equals = rule.when.test?.equals;
  const code = typeof equals === 'string' ? equals.toLowerCase() : '';
  return codePattern.test(code) ? code : answerCode(seen);
}

function failure(
  failureClass: FailureClass,
  code: string,
  oauthCode: string | null = null,
  retryAfterSeconds: number | null = null,
): Failure {
  const isRefusal = oauthCode !== null && refusalCodes.has(oauthCode);
  const reason = isRefusal ? 'refused' : 'revoked';
  return {
    kind: 'failure',
    class: failureClass,
    code,
    retryAfterSeconds,
    reason: failureClass === 'permanent' ? reason : null,
  };
}

/** RFC 9110 §10.2.3: seconds, or a date, which is compared with the clock that wrote it. */
function readRetryAfter(headers: Record<string, string>, now: Date): number | null {
  const text = headers['retry-after']?.trim() ?? '';
  const seconds = /^\d{1,10}$/.test(text) ? Number(text) : secondsUntil(text, headers['date'], now);
  return Number.isNaN(seconds) ? null : Math.min(Math.max(seconds, 0), retryAfterMaxSeconds);
}

function secondsUntil(dateText: string, answerDate: string | undefined, now: Date): number {
  const writtenAtMs = Date.parse(answerDate ?? '');
  const fromMs = Number.isNaN(writtenAtMs) ? now.getTime() : writtenAtMs;
  return Math.ceil((Date.parse(dateText) - fromMs) / msPerSecond);
}
