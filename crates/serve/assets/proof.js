// Why a tier is where it is: the proof that was verified, or honestly whose word it is.
import { $, element } from './dom.js';
import { count, plural } from './model.js';

/** `status` is the server's: what certificates rest on stands there. */
export async function explain(tier, tip, status) {
	$('proof-title').textContent = `Why is ${count(tip.block.height)} ${tier}?`;
	const body = $('proof-body');
	body.replaceChildren(element('p', {}, 'asking …'));
	if (!$('proof').open) $('proof').showModal();
	let why;
	try {
		const answer = await fetch(`v1/tips/${tier}/proof`, { headers: { accept: 'application/json' }, cache: 'no-store' });
		why = await answer.json();
		if (!answer.ok) throw new Error(why.detail ?? `The server answers ${answer.status}.`);
	} catch (error) {
		body.replaceChildren(element('p', {}, error.message || 'The server does not answer.'));
		return;
	}
	const block = why.block ?? tip.block;
	const facts = [['digest', block.digest], ['source', why.source]];
	if (tip.checkpoint) facts.push(['checkpoint', count(tip.checkpoint.number)], ['its digest', tip.checkpoint.digest]);
	const { proves, proof, on } = why;
	if (proves && proves.digest !== block.digest) facts.push(['proves', `${count(proves.height)}, of whose chain it is`], ['its digest', proves.digest]);
	const { verification } = status;
	if (proof && verification) facts.push(['epoch', count(verification.epoch)], ['keys rest on', verification.anchor]);
	const list = element('dl');
	for (const [name, value] of facts) {
		const className = /^[0-9a-f]{16,}$/.test(value) ? 'mono' : '';
		list.append(element('dt', {}, name), element('dd', { className }, value));
	}
	const said = {
		proof: 'There is a proof of it, and it was verified here: the source was not believed.',
		word: 'The source says so, and nothing that it answered proves it.',
	}[on] ?? 'It is not known any more.';
	body.replaceChildren(element('p', {}, said), list);
	if (proof) {
		const details = element('details', {}, element('summary', {}, `The proof, ${plural(proof.length / 2, 'byte')} in the chain’s own encoding`));
		details.append(element('p', { className: 'mono hex' }, proof));
		body.append(details);
	}
}
