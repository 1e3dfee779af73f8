package main

import (
	"fmt"
	"strings"
)

// question is one request in the words of a model server and of headrace.
type question struct {
	direct, through string // bodies
	bad             bool
}

// asked makes the two targets of a line.
func asked(modelAddr, gatewayAddr, route string, pid int, questions []question) (direct, through *target) {
	direct = &target{name: "direct", addr: modelAddr, least: 2, most: anyReply}
	through = &target{name: "headrace", addr: gatewayAddr, least: 2, most: anyReply, pid: pid}
	for _, q := range questions {
		direct.requests = append(direct.requests, post(modelAddr, invocations, q.direct))
		through.requests = append(through.requests, post(gatewayAddr, "/gateway/"+route+"/invocations", q.through))
		direct.bad, through.bad = append(direct.bad, q.bad), append(through.bad, q.bad)
	}
	return direct, through
}

func embeds(texts []string) []question {
	all := make([]question, 0, len(texts))
	for _, text := range texts {
		all = append(all, question{direct: fmt.Sprintf(`{"inputs": [%q]}`, text), through: fmt.Sprintf(`{"text": [%q]}`, text)})
	}
	return all
}

// mixedTexts are sentences of 10, 50 and 200 words.
func mixedTexts() []string {
	var all []string
	for i, text := range texts() {
		words := strings.Fields(strings.Repeat(text+" ", 50))
		all = append(all, strings.Join(words[:[]int{10, 50, 200}[i%3]], " "))
	}
	return all
}

// prompts have one mask each; one in every badEvery has none, which the model refuses. 0 makes none bad.
func prompts(badEvery int) []question {
	var all []question
	things := texts()
	for i := range max(len(things), badEvery) {
		text := "I like to [MASK] " + things[i%len(things)] + "."
		bad := badEvery > 0 && i%badEvery == badEvery-1
		if bad {
			text = things[i%len(things)]
		}
		all = append(all, question{direct: fmt.Sprintf(`{"inputs": [%q]}`, text), through: fmt.Sprintf(`{"prompt": %q}`, text), bad: bad})
	}
	return all
}

// rows are one row of measured flowers each.
func rows() []question {
	var all []question
	for i := range 64 {
		body := fmt.Sprintf(`{"dataframe_split": {"columns": ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"], `+
			`"data": [[%d.%d, 3.%d, %d.4, 0.%d]]}}`, 4+i%4, i%10, i%7, 1+i%6, 1+i%9)
		all = append(all, question{direct: body, through: body})
	}
	return all
}

func says() []question {
	var all []question
	for i := range 64 {
		text := fmt.Sprintf("hello %d", i)
		all = append(all, question{direct: fmt.Sprintf(`{"inputs": [%q]}`, text), through: fmt.Sprintf(`{"prompt": %q}`, text)})
	}
	return all
}

// texts are sentences of 4 to 10 words.
func texts() []string {
	words := strings.Fields("the quick brown fox likes to drive over small green hills while seven lazy dogs sleep near a warm river")
	var all []string
	for i := range 64 {
		n := 4 + i%7
		var sentence []string
		for j := range n {
			sentence = append(sentence, words[(i*5+j*3)%len(words)])
		}
		all = append(all, strings.Join(sentence, " "))
	}
	return all
}
