/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How weights that share inputs make up for each other (methods B13). In the metric of their inputs,
 *
 *	M = V^T diag(s) V	rows of V orthonormal, the directions; s > 0, how important each is
 *
 * the columns of a block are rounded in portions, the most important ones first; the error E_A of a portion A is
 * taken up best by the columns R behind it when these grow by E_A M_AR M_RR^-1. Learning moves V and s against
 * a gradient by these factors.
 */
#pragma once

#include <stdint.h>

#define AGGREGATE_PORTIONS 4

/**
 * struct aggregate - a block of @n columns; memory is the caller's
 * @order: [n], the columns, most important first; everything else is in this order
 * @v: [n][n]; @log_s: [n]
 * @pass: [n][n], what column k takes of the error of i; 0 unless k is in a portion behind that of i
 * @gradient: [n][n], of pass
 */
struct aggregate {
	uint32_t n, *order;
	double *v, *log_s;
	float *pass, *gradient;
};

/** aggregate_end() - columns of @n that portion @portion and those before it have: a half, a quarter, ..., all */
uint32_t aggregate_end(uint32_t n, uint32_t portion);

/** aggregate_start() - from the second moment of the inputs, [n][n]. Return: 0 or -ENOMEM */
int aggregate_start(struct aggregate *a, const double *moment);

/** aggregate_learn() - one step against the gradient, which is zero then. Return: 0 or -ENOMEM */
int aggregate_learn(struct aggregate *a, double rate);
