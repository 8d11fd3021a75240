// SPDX-License-Identifier: Apache-2.0
// A peer of peers.py: onnxruntime.js MODEL THREADS. Needs the npm package onnxruntime-node in NODE_PATH.
// Answers each line of its input with the nanoseconds of runs of about 100 ms, and its resident bytes.
// The binding is called directly: the promise around it would cost a small network half its time.
'use strict';
const readline = require('readline');
const {binding, initOrt} = require('onnxruntime-node/dist/binding.js');
const {Tensor} = require('onnxruntime-node');

initOrt();
const session = new binding.InferenceSession();
session.loadModel(process.argv[2], {
	intraOpNumThreads: Number(process.argv[3]),
	interOpNumThreads: 1,
	executionMode: 'sequential',
	graphOptimizationLevel: 'all',
});

const given = session.inputMetadata[0];
const size = given.shape.reduce((a, b) => a * b, 1);
const values = Float32Array.from({length: size}, (_, i) => (i * 7919 % 257) / 64 - 2);
const feeds = {[given.name]: new Tensor('float32', values, given.shape)};
const fetches = {[session.outputMetadata[0].name]: null};

// Nanoseconds; PEER_CLOCK=processor: of processors that this program has used.
function now() {
	const used = process.cpuUsage();
	return process.env.PEER_CLOCK === 'processor' ? 1000 * (used.user + used.system) : Number(process.hrtime.bigint());
}

function run() {
	const begin = now();
	session.run(feeds, fetches, {});
	return now() - begin;
}

for (let i = 0; i < 3; i++)
	run();
console.log('ready');
readline.createInterface({input: process.stdin}).on('line', () => {
	const times = [], end = process.hrtime.bigint() + 100000000n;
	do
		times.push(run());
	while (process.hrtime.bigint() < end || times.length < 5);
	console.log(times.join(' '), 'rss', process.memoryUsage().rss);
});
